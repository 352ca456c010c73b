package intake

import (
	"bytes"
	"math"
	"unicode"
	"unicode/utf8"
)

const (
	reasonEmpty       = "empty"
	reasonNotNumber   = "not a number"
	reasonNotPositive = "negative or zero"
	reasonTooLarge    = "larger than 9223372036854775807"
	reasonSign        = "has a plus sign"
	reasonZeros       = "has leading zeros (another kind of number?)"
	reasonDecimal     = "has a decimal point (a spreadsheet's export?)"
	reasonScientific  = "scientific notation (a spreadsheet's export?)"
	reasonThousands   = "has thousands separators"
	reasonSeveral     = "more than one value, or a decimal comma"
	reasonDigits      = "has digits other than 0 to 9"
	reasonCut         = "no line end behind it: the list may be cut (--last-line-is-whole if it is not)"
)

// parseID reads a positive int64 in ASCII digits, surrounded by space at most.
// The reason why it isn't one never holds any of the text.
func parseID(text []byte) (int64, string) {
	if n := len(text); n > 0 && (text[0] <= ' ' || text[n-1] <= ' ' || text[0] >= utf8.RuneSelf || text[n-1] >= utf8.RuneSelf) {
		text = bytes.TrimSpace(text)
	}
	if len(text) == 0 {
		return 0, reasonEmpty
	}
	var id uint64
	for _, c := range text {
		d := uint64(c - '0')
		if d > 9 {
			return 0, whyNotNumber(text)
		}
		if id > (math.MaxInt64-d)/10 {
			if text[0] == '0' {
				return 0, reasonZeros
			}
			return 0, digitsOnly(text, reasonTooLarge)
		}
		id = id*10 + d
	}
	switch {
	case id == 0:
		return 0, reasonNotPositive
	case text[0] == '0':
		// A card's or telephone's number has them; an id of Capillary's never.
		return 0, reasonZeros
	}
	return int64(id), ""
}

// digitsOnly returns reason if text is all digits, else why it isn't.
func digitsOnly(text []byte, reason string) string {
	if countDigits(text) == len(text) {
		return reason
	}
	return whyNotNumber(text)
}

// whyNotNumber gives the reason for a text that isn't all ASCII digits.
func whyNotNumber(text []byte) string {
	number := text
	if sign := text[0]; sign == '-' || sign == '+' {
		number = text[1:]
		if len(number) > 0 && countDigits(number) == len(number) {
			if sign == '-' {
				return reasonNotPositive
			}
			return reasonSign
		}
	}
	if countDigits(number) == 0 {
		if foreignDigits(number) {
			return reasonDigits
		}
		return reasonNotNumber
	}
	if mantissa, exponent, ok := bytes.Cut(bytes.ToLower(number), []byte{'e'}); ok {
		exponent = bytes.TrimLeft(exponent, "+-")
		if len(exponent) > 0 && countDigits(exponent) == len(exponent) &&
			countDigits(mantissa) > 0 && only(mantissa, "0123456789.,") {
			return reasonScientific
		}
		return reasonNotNumber
	}
	switch {
	case only(number, "0123456789.") && bytes.Count(number, []byte{'.'}) == 1:
		return reasonDecimal
	case grouped(number):
		return reasonThousands
	case only(number, "0123456789,;\t |"):
		return reasonSeveral
	case foreignDigits(number):
		return reasonDigits
	}
	return reasonNotNumber
}

// numberLike tells a first line of plain ids, if perhaps of bad ones, from a
// header of one column.
func numberLike(text []byte) bool {
	if _, reason := parseID(text); reason == "" {
		return true
	} else if bytes.ContainsAny(text, ",;\t") {
		return false
	} else {
		return reason != reasonNotNumber && reason != reasonEmpty
	}
}

func countDigits(text []byte) (n int) {
	for _, c := range text {
		if '0' <= c && c <= '9' {
			n++
		}
	}
	return n
}

func only(text []byte, set string) bool {
	return len(bytes.Trim(text, set)) == 0
}

// foreignDigits tells numbers in other scripts' digits, or in full-width ones.
func foreignDigits(text []byte) bool {
	for _, r := range string(text) {
		if !unicode.IsDigit(r) {
			return false
		}
	}
	return len(text) > 0
}

// grouped tells 1,234,567 with whatever a country puts between the groups.
func grouped(text []byte) bool {
	groups := bytes.FieldsFunc(text, func(r rune) bool {
		switch r {
		case ',', '.', '\'', '’', '_', ' ', '\u00a0', '\u202f', '\u2009':
			return true
		}
		return false
	})
	if len(groups) < 2 || len(groups[0]) > 3 {
		return false
	}
	for i, g := range groups {
		if countDigits(g) != len(g) || (i > 0 && len(g) != 3) {
			return false
		}
	}
	return true
}
