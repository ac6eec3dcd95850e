package sqlite

import (
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/reventless-go/reventless/internal/objectkey"
)

// The file of an object lies at one of two paths below its bucket's directory.
// The plain one is the key itself, and what a person puts there is an object of
// that key. The escaped one is for keys that cannot be plain: because of the
// file system's rules for names, or because a file is where a directory would
// have to be, such as for the keys "a" and "a/b". There each segment is marked:
//
//	%=name   a file
//	%-name   a directory on the way
//	%+part   a directory that is the beginning of a longer segment
//
// so that files and directories never meet. In a marked segment % and what the
// file system cannot stand is written as % and two hex digits.

const (
	markFile = "%="
	markDir  = "%-"
	markPart = "%+"
	// maxSegment bounds the names of files, of which most systems take 255 bytes.
	maxSegment = 240
)

// plain reports whether a segment can be a file's name as it is.
func plain(segment string) bool {
	return len(segment) <= maxSegment && !marked(segment) && nameable(segment)
}

func marked(segment string) bool {
	return strings.HasPrefix(segment, markFile) || strings.HasPrefix(segment, markDir) || strings.HasPrefix(segment, markPart)
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

// escapedPath returns the other path of a key.
func escapedPath(key string) string {
	segments := strings.Split(key, "/")
	var names []string
	for i, segment := range segments {
		mark := markDir
		if i == len(segments)-1 {
			mark = markFile
		}
		name := escape(segment)
		for len(name) > maxSegment {
			// Neither a rune nor an escape is cut, and no part has an end that
			// Windows would drop.
			cut := maxSegment
			for !utf8.RuneStart(name[cut]) || name[cut-2] == '%' || strings.IndexByte("%. ", name[cut-1]) >= 0 && cut > maxSegment/2 {
				cut--
			}
			names = append(names, markPart+name[:cut])
			name = name[cut:]
		}
		names = append(names, mark+name)
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

// keyOf returns the key of the object whose file is at a path below its bucket's
// directory; ok is false for a file that is no object.
func keyOf(path string) (key string, ok bool) {
	path = filepath.ToSlash(path)
	if marked(path) {
		var b strings.Builder
		for name := range strings.SplitSeq(path, "/") {
			if !marked(name) {
				return "", false
			}
			text, ok := unescape(name[2:])
			if !ok {
				return "", false
			}
			b.WriteString(text)
			if name[:2] == markDir {
				b.WriteByte('/')
			}
		}
		key = b.String()
		return key, objectkey.Check(key) == nil && filepath.ToSlash(escapedPath(key)) == path
	}
	_, ok = plainPath(path)
	return path, ok && objectkey.Check(path) == nil
}

// bucketDirName is the name of a bucket's directory. Those that begin with a dot
// are not for buckets.
func bucketDirName(bucket string) string {
	if plain(bucket) && bucket[0] != '.' && !strings.Contains(bucket, "/") {
		return bucket
	}
	name := markFile + strings.ReplaceAll(escape(bucket), "/", "%2F")
	return name
}
