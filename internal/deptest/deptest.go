// Package deptest checks the import rules of the modules: which packages must not
// link which, and why. A workspace, a moved package or a misspelt pattern would make
// a rule check nothing, so a rule that matches no package fails.
package deptest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Rule restricts what some packages of a module may link. At least one of Never,
// NeverDirectly and Modules is set.
type Rule struct {
	Why string // the reason; it is part of each finding

	// Pkgs are the packages that the rule applies to, as patterns of the go command.
	// Each must match a package.
	Pkgs []string
	// Except are import paths that the rule does not apply to, with the packages below
	// them. Each must exclude a package of Pkgs.
	Except []string

	// Never are import paths that must not be linked, even through others, and
	// the packages below them. A path of the standard library or of one of the
	// modules under test must exist.
	Never []string
	// NeverDirectly are import paths that the packages' own files must not
	// import, and the packages below them.
	NeverDirectly []string
	// Modules, if set, are the only modules that may be linked beside the
	// standard library.
	Modules []string

	// Tests applies the rule to the tests of the packages as well.
	Tests bool
}

// errEmpty is wrapped by the errors of a rule that checks less than it states.
var errEmpty = errors.New("the rule checks nothing")

// Check runs rules with the go command in dir, a folder of the module.
func Check(t *testing.T, dir string, rules ...Rule) {
	t.Helper()
	for _, r := range rules {
		findings, err := r.check(dir)
		if err != nil {
			t.Errorf("cannot check the rule %q: %v", r.Why, err)
		}
		for _, f := range findings {
			t.Errorf("%s: %s", f, r.Why)
		}
	}
}

// pkg is the description of a package by the go command.
type pkg struct {
	ImportPath string
	Dir        string
	ForTest    string
	Standard   bool
	DepOnly    bool
	Imports    []string
	ImportMap  map[string]string
	Match      []string
	Module     *struct {
		Path string
		Main bool
	}
}

// path returns the import path without the test binary that the package is built for.
func (p *pkg) path() string {
	path, _, _ := strings.Cut(p.ImportPath, " ")
	return path
}

func (r Rule) check(dir string) (findings []string, err error) {
	if r.Why == "" || len(r.Pkgs) == 0 || len(r.Never)+len(r.NeverDirectly)+len(r.Modules) == 0 {
		return nil, fmt.Errorf("it needs a reason, packages and something that is not allowed: %w", errEmpty)
	}
	all, err := list(dir, r.Tests, r.Pkgs)
	if err != nil {
		return nil, err
	}
	for _, path := range slices.Concat(r.Never, r.NeverDirectly) {
		if err := exists(dir, path, all); err != nil {
			return nil, err
		}
	}
	excepted, checked := map[string]bool{}, map[string]bool{}
	for _, p := range sorted(all) {
		if p.DepOnly || strings.HasSuffix(p.path(), ".test") {
			continue
		}
		if p.Module != nil && p.Module.Main {
			// Go's test cache records only files that the test itself reads. Reading these
			// files here prevents a cached "ok" from hiding a new import.
			if _, err := os.ReadDir(p.Dir); err != nil {
				return nil, err
			}
		}
		tested := cmp.Or(p.ForTest, p.path())
		if i := slices.IndexFunc(r.Except, func(e string) bool { return within(tested, e) }); i >= 0 {
			excepted[r.Except[i]] = true
			continue
		}
		for _, pattern := range p.Match {
			checked[pattern] = true
		}
		findings = append(findings, r.findings(p, all)...)
	}
	for _, e := range r.Except {
		if !excepted[e] {
			return nil, fmt.Errorf("%v has no package %s to except: %w", r.Pkgs, e, errEmpty)
		}
	}
	for _, pattern := range r.Pkgs {
		if !checked[pattern] {
			return nil, fmt.Errorf("%s matches no package: %w", pattern, errEmpty)
		}
	}
	slices.Sort(findings)
	return slices.Compact(findings), nil // a package and its test variant have most findings in common
}

// findings walks what p links, nearest first, and reports each forbidden package with
// the shortest chain of imports to it.
func (r Rule) findings(p *pkg, all map[string]*pkg) (findings []string) {
	from := map[string]*pkg{p.ImportPath: nil}
	chain := func(last *pkg) string {
		names := []string{last.path()}
		for at := from[last.ImportPath]; at != nil; at = from[at.ImportPath] {
			names = append(names, at.path())
		}
		slices.Reverse(names)
		return strings.Join(names, " -> ")
	}
	for queue := []*pkg{p}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at != p {
			anyOf := func(paths []string) bool {
				return slices.ContainsFunc(paths, func(path string) bool { return within(at.path(), path) })
			}
			bad := anyOf(r.Never) || from[at.ImportPath] == p && anyOf(r.NeverDirectly) ||
				r.Modules != nil && !at.Standard && (at.Module == nil || !slices.Contains(r.Modules, at.Module.Path))
			if bad {
				findings = append(findings, "forbidden import "+chain(at))
				continue // its own dependencies belong to the same finding
			}
		}
		for _, name := range at.Imports {
			name = cmp.Or(at.ImportMap[name], name)
			next := all[name]
			if next == nil { // the list has no packages for C and unsafe
				continue
			}
			if _, seen := from[name]; !seen {
				from[name] = at
				queue = append(queue, next)
			}
		}
	}
	return findings
}

// exists returns an error if a forbidden path names no package. It accepts paths of
// modules that are not linked, because their packages are unknown.
func exists(dir, path string, all map[string]*pkg) error {
	ours := !strings.Contains(strings.Split(path, "/")[0], ".")
	for _, p := range all {
		if within(p.path(), path) {
			return nil
		}
		ours = ours || p.Module != nil && within(path, p.Module.Path)
	}
	if !ours {
		return nil
	}
	found, err := list(dir, false, []string{path + "/..."})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("the forbidden package %s does not exist: %w", path, errEmpty)
	}
	return err
}

// list returns the packages of some patterns and all packages that they link, by
// import path.
func list(dir string, tests bool, patterns []string) (map[string]*pkg, error) {
	args := []string{"list", "-deps", "-json=ImportPath,Dir,ForTest,Standard,DepOnly,Imports,ImportMap,Match,Module"}
	if tests {
		args = append(args, "-test")
	}
	cmd := exec.Command("go", append(append(args, "--"), patterns...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off") // a workspace hides a forbidden import
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("go %s: %w", strings.Join(cmd.Args[1:], " "), err)
	}
	all := map[string]*pkg{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			return nil, fmt.Errorf("go list's answer: %w", err)
		}
		all[p.ImportPath] = &p
	}
	return all, nil
}

func sorted(all map[string]*pkg) []*pkg {
	var ps []*pkg
	for _, p := range all {
		ps = append(ps, p)
	}
	slices.SortFunc(ps, func(a, b *pkg) int { return cmp.Compare(a.ImportPath, b.ImportPath) })
	return ps
}

func within(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}
