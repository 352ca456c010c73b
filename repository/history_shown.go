package repository

import (
	"encoding/hex"
	"strings"

	"github.com/imagepurge/imagepurge/jobs"
)

// shownBytes is how much of each identity a listing's row keeps: what
// [jobs.Key.String] shows.
const shownBytes = 8

// shownText is what a listing showed, as the statement takes it.
func shownText(keys []jobs.Key) string {
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(hex.EncodeToString(k[:shownBytes]))
	}
	return b.String()
}

// shownKeys reads it back: one word of hex for each image. Nil stays nil: there was
// no listing to be believed.
func shownKeys(shown []byte) []string {
	if shown == nil {
		return nil
	}
	keys := make([]string, 0, len(shown)/shownBytes)
	for ; len(shown) >= shownBytes; shown = shown[shownBytes:] {
		keys = append(keys, hex.EncodeToString(shown[:shownBytes]))
	}
	return keys
}
