package sqlite

import (
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/reventless-go/reventless/internal/objectkey"
)

// The file of an object has one of two paths below its bucket's directory. The
// plain path is the key itself: a file that a person puts there is an object with
// that key. The escaped path is for keys that cannot use the plain one, because of
// the file system's rules for names, or because a file takes the place of a
// directory, as with the keys "a" and "a/b". In it each segment has a prefix:
//
//	%=name   a file
//	%-name   a directory
//	%+part   a directory that is the beginning of a longer segment
//
// so that a file and a directory never have the same path. In such a segment % and
// bytes that the file system does not accept are written as % and two hex digits.

const (
	prefixFile = "%="
	prefixDir  = "%-"
	prefixPart = "%+"
	// maxSegment bounds the length of file names; most systems allow 255 bytes.
	maxSegment = 240
)

// plain reports whether a segment can be a file name unchanged.
func plain(segment string) bool {
	return len(segment) <= maxSegment && !escaped(segment) && nameable(segment)
}

func escaped(segment string) bool {
	return strings.HasPrefix(segment, prefixFile) || strings.HasPrefix(segment, prefixDir) || strings.HasPrefix(segment, prefixPart)
}

// plainPath returns the plain path of a key, if it can have one.
func plainPath(key string) (path string, ok bool) {
	for segment := range strings.SplitSeq(key, "/") {
		if !plain(segment) {
			return "", false
		}
	}
	return filepath.FromSlash(key), true
}

// escapedPath returns the escaped path of a key.
func escapedPath(key string) string {
	segments := strings.Split(key, "/")
	var names []string
	for i, segment := range segments {
		prefix := prefixDir
		if i == len(segments)-1 {
			prefix = prefixFile
		}
		name := escape(segment)
		for len(name) > maxSegment {
			// Do not cut inside a rune or an escape, nor after a character that
			// Windows drops at the end of a name.
			cut := maxSegment
			for !utf8.RuneStart(name[cut]) || name[cut-2] == '%' || strings.IndexByte("%. ", name[cut-1]) >= 0 && cut > maxSegment/2 {
				cut--
			}
			names = append(names, prefixPart+name[:cut])
			name = name[cut:]
		}
		names = append(names, prefix+name)
	}
	return filepath.Join(names...)
}

const hexDigits = "0123456789ABCDEF"

func escape(segment string) string {
	var b strings.Builder
	for i := range len(segment) {
		if c := segment[i]; c == '%' || !nameableByte(c) || i == len(segment)-1 && (c == '.' || c == ' ') {
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func unescape(name string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			b.WriteByte(name[i])
			continue
		}
		if i+2 >= len(name) {
			return "", false
		}
		high, low := strings.IndexByte(hexDigits, name[i+1]), strings.IndexByte(hexDigits, name[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		b.WriteByte(byte(high<<4 | low))
		i += 2
	}
	return b.String(), true
}

// keyOf returns the key of the object whose file has a path below its bucket's
// directory; ok is false if the file is not an object.
func keyOf(path string) (key string, ok bool) {
	path = filepath.ToSlash(path)
	if escaped(path) {
		var b strings.Builder
		for name := range strings.SplitSeq(path, "/") {
			if !escaped(name) {
				return "", false
			}
			text, ok := unescape(name[2:])
			if !ok {
				return "", false
			}
			b.WriteString(text)
			if name[:2] == prefixDir {
				b.WriteByte('/')
			}
		}
		key = b.String()
		return key, objectkey.Check(key) == nil && filepath.ToSlash(escapedPath(key)) == path
	}
	_, ok = plainPath(path)
	return path, ok && objectkey.Check(path) == nil
}

// bucketDirName returns the name of a bucket's directory. Names that begin with a
// dot are reserved.
func bucketDirName(bucket string) string {
	if plain(bucket) && bucket[0] != '.' && !strings.Contains(bucket, "/") {
		return bucket
	}
	return prefixFile + strings.ReplaceAll(escape(bucket), "/", "%2F")
}
