//go:build unix

package sqlite

// nameable reports whether the system takes a segment of a key as a file's name.
func nameable(string) bool { return true }

func nameableByte(c byte) bool { return c != '/' && c != 0 }
