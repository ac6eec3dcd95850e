package deptest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// module writes a small module: domain imports other, other imports a
// neighbouring module's package, a test of domain imports testing/iotest.
func module(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"a/go.mod":                "module example.test/a\n\ngo 1.26\n\nrequire example.test/b v0.0.0\n\nreplace example.test/b => ../b\n",
		"a/domain/domain.go":      "package domain\n\nimport _ \"example.test/a/other\"\n",
		"a/domain/domain_test.go": "package domain_test\n\nimport (\n\t\"testing\"\n\t_ \"testing/iotest\"\n)\n\nfunc Test(t *testing.T) {}\n",
		"a/other/other.go":        "package other\n\nimport (\n\t_ \"net/http\"\n\n\t_ \"example.test/b/heavy\"\n)\n",
		"b/go.mod":                "module example.test/b\n\ngo 1.26\n",
		"b/heavy/heavy.go":        "package heavy\n",
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[name]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(root, "a")
}

// errFailed stands for any error of the go command.
var errFailed = errors.New("go list failed")

func TestRules(t *testing.T) {
	dir := module(t)
	const domain, other, heavy = "example.test/a/domain", "example.test/a/other", "example.test/b/heavy"
	for name, test := range map[string]struct {
		rule Rule
		want []string // the findings
		err  error
	}{
		"kept":                            {rule: Rule{Pkgs: []string{"./..."}, Never: []string{"testing"}}},
		"through another":                 {rule: Rule{Pkgs: []string{"./domain"}, Never: []string{"example.test/b"}}, want: []string{domain + " -> " + other + " -> " + heavy}},
		"through the library":             {rule: Rule{Pkgs: []string{"./domain"}, Never: []string{"crypto/tls"}}, want: []string{domain + " -> " + other + " -> net/http -> crypto/tls"}},
		"each package":                    {rule: Rule{Pkgs: []string{"./..."}, Never: []string{heavy}}, want: []string{domain + " -> " + other + " -> " + heavy, other + " -> " + heavy}},
		"excepted":                        {rule: Rule{Pkgs: []string{"./..."}, Except: []string{other}, Never: []string{heavy}}, want: []string{domain + " -> " + other + " -> " + heavy}},
		"only what it imports":            {rule: Rule{Pkgs: []string{"./..."}, NeverDirectly: []string{heavy}}, want: []string{other + " -> " + heavy}},
		"modules":                         {rule: Rule{Pkgs: []string{"./..."}, Modules: []string{"example.test/a"}}, want: []string{domain + " -> " + other + " -> " + heavy, other + " -> " + heavy}},
		"modules kept":                    {rule: Rule{Pkgs: []string{"./..."}, Modules: []string{"example.test/a", "example.test/b"}}},
		"a test":                          {rule: Rule{Pkgs: []string{"./..."}, NeverDirectly: []string{"testing/iotest"}, Tests: true}, want: []string{domain + "_test -> testing/iotest"}},
		"a test of an exception":          {rule: Rule{Pkgs: []string{"./..."}, Except: []string{domain}, NeverDirectly: []string{"testing/iotest"}, Tests: true}},
		"a misspelt name is not a prefix": {rule: Rule{Pkgs: []string{"./..."}, Never: []string{"example.test/a/oth"}}, err: errEmpty},

		"no package":                {rule: Rule{Pkgs: []string{"./domain/no..."}, Never: []string{"testing"}}, err: errEmpty},
		"no package for one":        {rule: Rule{Pkgs: []string{"./...", "./domain/no..."}, Never: []string{"testing"}}, err: errEmpty},
		"all excepted":              {rule: Rule{Pkgs: []string{"./domain"}, Except: []string{domain}, Never: []string{"testing"}}, err: errEmpty},
		"no such exception":         {rule: Rule{Pkgs: []string{"./..."}, Except: []string{"example.test/a/gone"}, Never: []string{"testing"}}, err: errEmpty},
		"forbidden package is gone": {rule: Rule{Pkgs: []string{"./..."}, Never: []string{"example.test/b/gone"}}, err: errEmpty},
		"nothing forbidden":         {rule: Rule{Pkgs: []string{"./..."}}, err: errEmpty},
		"a package that is no Go":   {rule: Rule{Pkgs: []string{"./missing"}, Never: []string{"testing"}}, err: errFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.rule.Why = "because"
			got, err := test.rule.check(dir)
			if err != nil && !errors.Is(err, errEmpty) {
				err = fmt.Errorf("%w: %w", errFailed, err)
			}
			if !errors.Is(err, test.err) {
				t.Fatalf("check: %v, want %v", err, test.err)
			}
			want := []string{}
			for _, w := range test.want {
				want = append(want, "forbidden import "+w)
			}
			if !slices.Equal(got, want) {
				t.Errorf("findings\n%q, want\n%q", got, want)
			}
		})
	}
}
