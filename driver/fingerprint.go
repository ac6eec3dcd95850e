package driver

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math/big"
	"strings"
)

// HashID returns the hash by which a command id is remembered: the first 8 bytes of
// its SHA-256.
func HashID(id string) uint64 {
	sum := sha256.Sum256([]byte(id))
	return binary.BigEndian.Uint64(sum[:])
}

// Fingerprint returns a fingerprint of what a command requests: its target, entity,
// type and data. It depends on the value of the data and not on its JSON text: white
// space, the order of fields, and the notation of strings and numbers do not change
// it. It does not depend on the version, which the code of the sender defines. It is
// never 0. It detects mistakes: it is no defence against a sender who looks for two
// commands with one fingerprint.
func Fingerprint(c Command) uint32 {
	h := uint64(fnvOffset)
	for _, part := range []string{c.Target, c.Entity, c.Type} {
		h = mix(h, hashText('"', part))
	}
	data, rest, ok := hashValue(c.Data, 0)
	if !ok || len(bytes.TrimLeft(rest, " \t\r\n")) > 0 {
		data = hashText('!', c.Data) // not JSON
	}
	return max(uint32(mix(h, data)>>32), 1)
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
	// maxDepth is the depth to which package encoding/json decodes.
	maxDepth = 10_000
)

// hashText returns the FNV-1a hash of a text and its kind.
func hashText[T string | []byte | json.RawMessage](kind byte, text T) uint64 {
	h := (uint64(fnvOffset) ^ uint64(kind)) * fnvPrime
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * fnvPrime
	}
	return h
}

// mix combines two hashes in this order, with the finalizer of SplitMix64.
func mix(a, b uint64) uint64 {
	x := a*0x9e3779b97f4a7c15 + b
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashValue returns the hash of the JSON value at the start of b, and the rest of b. It
// decodes nothing but strings with escapes and unusual numbers: it runs for every command.
func hashValue(b []byte, depth int) (h uint64, rest []byte, ok bool) {
	if b = bytes.TrimLeft(b, " \t\r\n"); len(b) == 0 || depth > maxDepth {
		return 0, nil, false
	}
	switch b[0] {
	case '{':
		// The sum does not depend on the order of the fields.
		sum := uint64(0)
		rest, ok = hashMembers(b[1:], '}', func(b []byte) ([]byte, bool) {
			key, b, ok := hashString(b)
			if b = bytes.TrimLeft(b, " \t\r\n"); !ok || len(b) == 0 || b[0] != ':' {
				return nil, false
			}
			value, b, ok := hashValue(b[1:], depth+1)
			sum += mix(key, value)
			return b, ok
		})
		return mix('{', sum), rest, ok
	case '[':
		h = '['
		rest, ok = hashMembers(b[1:], ']', func(b []byte) ([]byte, bool) {
			value, b, ok := hashValue(b, depth+1)
			h = mix(h, value)
			return b, ok
		})
		return mix(h, ']'), rest, ok
	case '"':
		return hashString(b)
	}
	n := bytes.IndexAny(b, ",]} \t\r\n")
	if n < 0 {
		n = len(b)
	}
	if n == 0 {
		return 0, nil, false
	}
	switch c := b[0]; {
	case c == '-' || '0' <= c && c <= '9':
		return hashText('0', canonicalNumber(string(b[:n]))), b[n:], true
	default: // true, false or null
		return hashText('a', b[:n]), b[n:], true
	}
}

// hashMembers calls member for each member of a list or object up to the character end.
func hashMembers(b []byte, end byte, member func([]byte) ([]byte, bool)) (rest []byte, ok bool) {
	for first := true; ; first = false {
		b = bytes.TrimLeft(b, " \t\r\n")
		switch {
		case len(b) == 0:
			return nil, false
		case b[0] == end:
			return b[1:], true
		case !first && b[0] != ',':
			return nil, false
		case !first:
			b = bytes.TrimLeft(b[1:], " \t\r\n")
		}
		if b, ok = member(b); !ok {
			return nil, false
		}
	}
}

// hashString returns the hash of the JSON string at the start of b.
func hashString(b []byte) (h uint64, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return 0, nil, false
	}
	escaped := false
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			if !escaped {
				return hashText('"', b[1:i]), b[i+1:], true
			}
			var s string
			if json.Unmarshal(b[:i+1], &s) != nil {
				return 0, nil, false
			}
			return hashText('"', s), b[i+1:], true
		}
	}
	return 0, nil, false
}

// canonicalNumber returns a text that depends only on the value of a number.
func canonicalNumber(text string) string {
	const digits = 18
	if len(text) <= digits && !strings.ContainsAny(text, ".eE") && text != "-0" {
		return text
	}
	// 1,024 bits distinguish all numbers of up to 300 digits.
	f, _, err := big.ParseFloat(text, 10, 1024, big.ToNearestEven)
	switch {
	case err != nil, f.IsInf():
		return text
	case f.Sign() == 0:
		return "0"
	case f.IsInt() && f.MantExp(nil) < 59: // at most 18 digits
		return f.Text('f', 0)
	}
	return f.Text('p', 0)
}
