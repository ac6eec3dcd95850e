// Package compiletest shows what the compiler refuses: the mistakes that the
// types of the declaration API are there to prevent.
package compiletest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each folder of testdata is a program with a comment "// refused: TEXT" on every
// line that must not compile, where TEXT is part of the compiler's message. The
// folder control has none and must compile.
func TestMistakesDoNotCompile(t *testing.T) {
	t.Parallel()
	dirs, err := filepath.Glob("testdata/*")
	if err != nil || len(dirs) < 2 {
		t.Fatalf("testdata: %v, %v", dirs, err)
	}
	args := []string{"build", "-gcflags=-e", "-o", os.DevNull}
	for _, d := range dirs {
		args = append(args, "./"+d)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("all of it compiles")
	}
	said := map[string]string{} // file:line to message
	for _, m := range regexp.MustCompile(`(?m)^(\S+\.go:\d+):\d+: (.*(?:\n\t.*)*)`).FindAllStringSubmatch(string(out), -1) {
		said[filepath.ToSlash(filepath.Clean(m[1]))] += m[2]
	}
	for _, d := range dirs {
		file := filepath.Join(d, "main.go")
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		wanted := 0
		for i, line := range strings.Split(string(src), "\n") {
			at := fmt.Sprintf("%s:%d", filepath.ToSlash(file), i+1)
			_, want, refused := strings.Cut(line, "// refused: ")
			got := said[at]
			switch {
			case refused && got == "":
				t.Errorf("%s compiles:\n%s", at, line)
			case refused && !strings.Contains(got, want):
				t.Errorf("%s is refused with %q, want a message with %q", at, got, want)
			case !refused && got != "":
				t.Errorf("%s is refused: %s", at, got)
			}
			if refused {
				wanted++
			}
		}
		if control := filepath.Base(d) == "control"; control != (wanted == 0) {
			t.Errorf("%s has %d lines that are to be refused", d, wanted)
		}
	}
	if t.Failed() {
		t.Logf("the compiler said:\n%s", out)
	}
}
