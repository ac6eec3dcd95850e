// Package compiletest shows which mistakes the types of the declaration API turn into
// compiler errors.
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

// Each program in testdata has a comment "// refused: TEXT" on every line that must
// not compile; TEXT is part of the compiler's message. The program control has no such
// line and must compile. The package testdata/order is what the programs share.
func TestMistakesDoNotCompile(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*/main.go")
	if err != nil || len(files) < 2 {
		t.Fatalf("testdata: %v, %v", files, err)
	}
	args := []string{"build", "-gcflags=-e", "-o", os.DevNull}
	for _, f := range files {
		args = append(args, "./"+filepath.Dir(f))
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("all programs compile")
	}
	messages := map[string]string{} // by file:line
	for _, m := range regexp.MustCompile(`(?m)^(\S+\.go:\d+):\d+: (.*(?:\n\t.*)*)`).FindAllStringSubmatch(string(out), -1) {
		messages[filepath.ToSlash(filepath.Clean(m[1]))] += m[2]
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		wanted := 0
		for i, line := range strings.Split(string(src), "\n") {
			at := fmt.Sprintf("%s:%d", filepath.ToSlash(file), i+1)
			_, want, refused := strings.Cut(line, "// refused: ")
			got := messages[at]
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
		if control := filepath.Base(filepath.Dir(file)) == "control"; control != (wanted == 0) {
			t.Errorf("%s has %d lines marked as refused", file, wanted)
		}
	}
	if t.Failed() {
		t.Logf("compiler output:\n%s", out)
	}
}
