package sandbox

import (
	"encoding/hex"
	"strconv"
)

// salt keeps the answers to different questions independent of each other
// though they are drawn from one seed.
type salt uint64

const (
	saltStanding salt = iota + 1
	saltCount
	saltToken
	saltHandle
	saltImage
	saltShape
	saltFault
	saltFaultShape
	saltLate
	saltCounted
	saltOthers
	saltLatency
	saltLag
	saltStatus
	saltSignature
	saltOAuth
)

// draw answers one question about some values: the same seed, question and
// values give the same 64 bits, in any order of asking.
func draw(seed uint64, question salt, values ...int64) uint64 {
	h := scramble(seed + 0x9e3779b97f4a7c15*uint64(question))
	for _, v := range values {
		h = scramble(h ^ (uint64(v)*0xd6e8feb86659fd93 + 0x9e3779b97f4a7c15))
	}
	return h
}

// scramble is the finaliser of SplitMix64.
func scramble(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// unit turns drawn bits into a number in [0, 1).
func unit(bits uint64) float64 { return float64(bits>>11) / (1 << 53) }

func uuid(seed uint64, question salt, values ...int64) string {
	a := draw(seed, question, values...)
	b := scramble(a ^ 0xa0761d6478bd642f)
	var raw [16]byte
	for i := range 8 {
		raw[i] = byte(a >> (8 * i))
		raw[8+i] = byte(b >> (8 * i))
	}
	raw[6] = raw[6]&0x0f | 0x40
	raw[8] = raw[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[0:8], raw[0:4])
	hex.Encode(text[9:13], raw[4:6])
	hex.Encode(text[14:18], raw[6:8])
	hex.Encode(text[19:23], raw[8:10])
	hex.Encode(text[24:36], raw[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

func imageToken(seed uint64, org, customer int64, serial int) string {
	return "customerImage/" + strconv.FormatInt(org, 10) + "/" + strconv.FormatInt(customer, 10) +
		"/" + uuid(seed, saltToken, org, customer, int64(serial))
}
