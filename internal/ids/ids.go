// Package ids generates ids: new ones that sort by time, and derived ones that depend
// only on their parts.
package ids

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"
)

// New returns a UUID of version 7 for the time now.
func New(now time.Time) string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // documented never to fail
	setTime(&u, now)
	return format(u, 7)
}

// Derive returns a UUID of version 8 that depends only on its arguments. Like one of
// version 7 it starts with a time: that of the cause, or zero if the cause has no time.
func Derive(at time.Time, parts ...string) string {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	var u [16]byte
	copy(u[:], h.Sum(nil))
	setTime(&u, at)
	return format(u, 8)
}

// Time returns the time that an id of [New] or [Derive] starts with, and whether the id
// is derived. It is zero for an id without a time.
func Time(id string) (at time.Time, derived bool) {
	const form = "xxxxxxxx-xxxx-vxxx-nxxx-xxxxxxxxxxxx"
	if len(id) != len(form) {
		return time.Time{}, false
	}
	var ms int64
	for i := range form {
		digit := strings.IndexByte("0123456789abcdef", id[i])
		if digit < 0 && 'A' <= id[i] && id[i] <= 'F' {
			digit = int(id[i]-'A') + 10
		}
		switch form[i] {
		case '-':
			if id[i] != '-' {
				return time.Time{}, false
			}
			continue
		case 'v':
			if digit != 7 && digit != 8 {
				return time.Time{}, false
			}
		case 'n': // the variant
			if digit < 8 || digit > 11 {
				return time.Time{}, false
			}
		}
		if digit < 0 {
			return time.Time{}, false
		}
		if i < 13 { // 12 digits of time
			ms = ms<<4 | int64(digit)
		}
	}
	if ms > 0 {
		at = time.UnixMilli(ms).UTC()
	}
	return at, id[14] == '8'
}

func setTime(u *[16]byte, at time.Time) {
	var ms [8]byte
	if !at.IsZero() {
		binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli())) //nolint:gosec // no time before 1970
	}
	copy(u[:6], ms[2:])
}

func format(u [16]byte, version byte) string {
	u[6] = u[6]&0x0f | version<<4
	u[8] = u[8]&0x3f | 0x80
	var b [36]byte
	hex.Encode(b[:8], u[:4])
	b[8] = '-'
	hex.Encode(b[9:13], u[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], u[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], u[8:10])
	b[23] = '-'
	hex.Encode(b[24:], u[10:])
	return string(b[:])
}
