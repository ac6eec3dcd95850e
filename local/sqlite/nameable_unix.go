//go:build unix

package sqlite

// nameable reports whether the operating system accepts a key segment as a file name.
func nameable(string) bool { return true }

func nameableByte(c byte) bool { return c != '/' && c != 0 }
