package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNotices(t *testing.T) {
	t.Setenv("GOWORK", "off")
	root := t.TempDir()
	files := map[string]string{
		"LICENSE":             "the root's licence\n",
		"app/go.mod":          "module example.test/app\n\ngo 1.26\n\nrequire (\n\texample.test/a v0.0.0\n\texample.test/b v0.0.0\n)\n\nreplace example.test/a => ../a\n\nreplace example.test/b => ../b\n",
		"app/main.go":         "package main\n\nimport (\n\t_ \"example.test/a\"\n\t_ \"example.test/a/sub\"\n)\n\nfunc main() {}\n",
		"a/go.mod":            "module example.test/a\n\ngo 1.26\n",
		"a/a.go":              "package a\n",
		"a/LICENSE.txt":       "a's licence\r\n",
		"a/NOTICE":            "a's notice\n",
		"a/license.go":        "package a\n",
		"a/sub/sub.go":        "package sub\n",
		"a/sub/COPYING":       "another's licence\n",
		"a/unlinked/LICENSE":  "not linked\n",
		"a/unlinked/other.go": "package unlinked\n",
		"b/go.mod":            "module example.test/b\n\ngo 1.26\n",
		"b/b.go":              "package b\n",
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(filepath.Join(root, "app"))
	owners, err := collect(".")
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(owners, func(_ string, names []string) bool { return names[0] == "the Go standard library" })
	const want = `==== example.test/a

a's licence

==== example.test/a

a's notice

==== example.test/a/sub

another's licence

==== example.test/app

the root's licence
`
	if got := string(format(owners)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	if err := run([]string{"."}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile("NOTICES"); err != nil || !strings.Contains(string(text), "==== the Go standard library\n") {
		t.Errorf("the output is %q, the error is %v", text, err)
	}

	// The program's own module may have no licence file. Every other module must have one.
	if err := os.Remove(filepath.Join(root, "LICENSE")); err != nil {
		t.Fatal(err)
	}
	if _, err := collect("."); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile("main.go", []byte("package main\n\nimport _ \"example.test/b\"\n\nfunc main() {}\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := collect("."); err == nil {
		t.Error("a module without a licence is accepted")
	}
}
