package sqlite

import "strings"

// nameable reports whether the operating system accepts a key segment as a file
// name and stores it unchanged.
func nameable(segment string) bool {
	for i := range len(segment) {
		if !nameableByte(segment[i]) {
			return false
		}
	}
	if last := segment[len(segment)-1]; last == '.' || last == ' ' {
		return false
	}
	base, _, _ := strings.Cut(strings.ToUpper(segment), ".")
	switch base = strings.TrimRight(base, " "); base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return false
	}
	device := strings.HasPrefix(base, "COM") || strings.HasPrefix(base, "LPT")
	return !device || len(base) == 3
}

func nameableByte(c byte) bool { return c >= 0x20 && !strings.ContainsRune(`<>:"/\|?*`, rune(c)) }
