package api

import (
	"fmt"
	"regexp"
	"strings"
)

// singular returns the singular of a name by simple rules of English, or the name itself
// if it is not a plural.
func singular(name string) string {
	switch {
	case strings.HasSuffix(name, "ies") && len(name) > 4:
		return strings.TrimSuffix(name, "ies") + "y"
	case hasSuffix(name, "sses", "shes", "ches", "xes"),
		strings.HasSuffix(name, "uses") && !hasSuffix(name, "ouses", "auses"): // Statuses, but Warehouses and Causes
		return strings.TrimSuffix(name, "es")
	case hasSuffix(name, "ss", "us", "is"):
		return name
	case strings.HasSuffix(name, "s") && len(name) > 2:
		return strings.TrimSuffix(name, "s")
	}
	return name
}

// plural returns the plural of a name.
func plural(name string) string {
	switch {
	case strings.HasSuffix(name, "y") && len(name) > 1 && !strings.ContainsRune("aeiou", rune(name[len(name)-2])):
		return strings.TrimSuffix(name, "y") + "ies"
	case hasSuffix(name, "s", "sh", "ch", "x", "z"):
		return name + "es"
	}
	return name + "s"
}

func hasSuffix(s string, suffixes ...string) bool {
	for _, x := range suffixes {
		if strings.HasSuffix(s, x) {
			return true
		}
	}
	return false
}

// lowerFirst returns a name as a field name: "ID" becomes "id", "URLPath" "urlPath",
// "CategoryID" "categoryID".
func lowerFirst(name string) string {
	upper := 0
	for upper < len(name) && isUpper(name[upper]) {
		upper++
	}
	if upper > 1 && upper < len(name) && !(name[upper] >= '0' && name[upper] <= '9') {
		upper-- // the last capital begins the next word
	}
	return strings.ToLower(name[:upper]) + name[upper:]
}

func upperFirst(name string) string {
	if name == "" {
		return ""
	}
	return strings.ToUpper(name[:1]) + name[1:]
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }

// checkName returns an error if a name is not valid in GraphQL.
func checkName(name string) error {
	for i, c := range name {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return fmt.Errorf("%q is no name of GraphQL: letters, digits and _ only, beginning with a letter", name)
		}
	}
	if name == "" || strings.HasPrefix(name, "__") {
		return fmt.Errorf("%q is no name of GraphQL: it is empty or begins with __", name)
	}
	return nil
}

// inName matches the package of a type name, and the suffix that reflection appends to
// the name of a type that is local to a function.
var inName = regexp.MustCompile(`[^\[\]*, ]*[./]|·[0-9]+`)

// goTypeName returns a Go type's name without packages, also in its type arguments, and
// without characters that GraphQL does not allow.
func goTypeName(name string) string {
	name = inName.ReplaceAllString(name, "")
	var b strings.Builder
	word := true
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z' && word:
			b.WriteByte(c - 'a' + 'A')
			word = false
		case c >= 'a' && c <= 'z' || isUpper(c) || c >= '0' && c <= '9':
			b.WriteByte(c)
			word = false
		default:
			word = true
		}
	}
	return b.String()
}
