package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// run runs gotest on a module with the files and returns its output and result.
func run(t *testing.T, without string, files map[string]string) (string, bool) {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example.test\n\ngo 1.26\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	s := newSummary(&out, without)
	if err := s.run([]string{dir, "-timeout=1m", "./..."}); err != nil {
		t.Fatal(err)
	}
	ok := s.print()
	return out.String(), ok
}

func test(body string) string { return "package p\n\nimport \"testing\"\n\n" + body }

func TestOutput(t *testing.T) {
	good := test(`func TestGood(t *testing.T) { t.Log("quiet"); t.Run("a", func(t *testing.T) {}); t.Run("b", func(t *testing.T) { t.Skip("for once") }) }`)
	for name, c := range map[string]struct {
		files map[string]string
		want  []string // regular expressions
		never string
		ok    bool
	}{
		"passed": {
			files: map[string]string{"p/p_test.go": good, "q/q.go": "package q\n"},
			want:  []string{`(?m)^ok  \texample.test/p\t[0-9.]+s$`, `(?m)^\?   \texample.test/q\t\[no test files\]$`, `0\.\d\d s  example\.test/p\.TestGood\n`, `\n2 passed, 0 failed, 1 skipped\n$`},
			never: "quiet", ok: true,
		},
		"failed": {
			files: map[string]string{"p/p_test.go": good, "q/q_test.go": test(`func TestBad(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Error("loud") }) }`)},
			want:  []string{`--- FAIL: TestBad/sub .*\n +q_test.go:5: loud`, `(?m)^FAIL\texample.test/q\t`, `\n2 passed, 2 failed, 1 skipped\n$`},
			never: "quiet",
		},
		"does not compile": {
			files: map[string]string{"p/p_test.go": good, "q/q_test.go": test(`func TestBad(t *testing.T) { undefined() }`)},
			want:  []string{`undefined: undefined`, `(?m)^FAIL\texample.test/q \[build failed\]$`, `\n2 passed, 1 failed, 1 skipped\n$`},
		},
		"panics": {
			files: map[string]string{"p/p_test.go": test(`func TestBad(t *testing.T) { panic("at the disco") }`)},
			want:  []string{`panic: at the disco`, `(?m)^FAIL\texample.test/p\t`, `\n0 passed, 1 failed, 0 skipped\n$`},
		},
		"ends the process": {
			files: map[string]string{"p/p_test.go": "package p\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestBad(t *testing.T) { t.Log(\"before\"); os.Exit(3) }\n"},
			want:  []string{`before`, `\n0 passed, [1-9] failed, 0 skipped\n$`},
		},
		"no module": {
			files: map[string]string{"p/p_test.go": test(`import "example.test/none"`)},
			want:  []string{`\n0 passed, [1-9] failed, 0 skipped\n$`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, ok := run(t, "", c.files)
			if ok != c.ok {
				t.Errorf("it reports %v, want %v", ok, c.ok)
			}
			for _, w := range c.want {
				if !regexp.MustCompile(w).MatchString(out) {
					t.Errorf("there is no %q in\n%s", w, out)
				}
			}
			if c.never != "" && strings.Contains(out, c.never) {
				t.Errorf("it prints %q in\n%s", c.never, out)
			}
		})
	}
}

func TestLeftOut(t *testing.T) {
	t.Parallel()
	out, ok := run(t, "node chromium", map[string]string{"p/p_test.go": test(`func TestPage(t *testing.T) { t.Skip("left out: needs chromium") }`)})
	const want = "left out: 1 tests that need node, chromium; make test INSTALL=1 installs it\n0 passed, 0 failed, 1 skipped\n"
	if ok || !strings.HasSuffix(out, want) {
		t.Errorf("it reports %v after\n%s\nwant the end\n%s", ok, out, want)
	}
}
