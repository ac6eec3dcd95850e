// Command notices writes the licences of everything that is linked into a program, for
// distribution with the program:
//
//	//go:generate go run github.com/reventless-go/reventless/cmd/notices -o NOTICES .
//
// It fails if it finds no licence for a module. Equal texts are written once.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("notices", flag.ContinueOnError)
	out := flags.String("o", "NOTICES", "the `file` to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("it takes one argument, the package of the program")
	}
	owners, err := collect(flags.Arg(0))
	if err != nil {
		return err
	}
	return os.WriteFile(*out, format(owners), 0o666) //nolint:gosec // as any source file
}

// linked is a package that is linked into the program.
type linked struct {
	Dir      string
	Standard bool
	Module   *struct {
		Path, Dir string
		Main      bool
		Replace   *struct{ Dir string }
	}
}

// collect returns the modules and packages that each licence applies to, by the text of
// the licence.
func collect(program string) (map[string][]string, error) {
	goroot, err := goCommand("env", "GOROOT")
	if err != nil {
		return nil, err
	}
	list, err := goCommand("list", "-deps", "-json=Dir,Standard,Module", program)
	if err != nil {
		return nil, err
	}
	owners := map[string][]string{}
	if err := add(owners, "the Go standard library", filepath.Join(strings.TrimSpace(goroot), "LICENSE")); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for d := json.NewDecoder(strings.NewReader(list)); ; {
		var p linked
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return owners, nil
		} else if err != nil {
			return nil, err
		}
		if p.Standard {
			continue
		}
		m := p.Module
		// A package copied from another project may have its own licence.
		for dir := p.Dir; dir != m.Dir; dir = filepath.Dir(dir) {
			if seen[dir] {
				continue
			}
			seen[dir] = true
			if err := add(owners, m.Path+filepath.ToSlash(strings.TrimPrefix(dir, m.Dir)), licences(dir)...); err != nil {
				return nil, err
			}
		}
		if seen[m.Dir] {
			continue
		}
		seen[m.Dir] = true
		files := licences(m.Dir)
		// The modules of one repository may share the licence at its root.
		for dir := m.Dir; len(files) == 0 && (m.Main || m.Replace != nil) && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			files = licences(filepath.Dir(dir))
		}
		if len(files) == 0 && !m.Main {
			return nil, fmt.Errorf("%s has no licence in %s", m.Path, m.Dir)
		}
		if err := add(owners, m.Path, files...); err != nil {
			return nil, err
		}
	}
}

func goCommand(args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}

var named = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice)([._-].*)?$`)

// licences returns the files in dir that have licences and notices.
func licences(dir string) (files []string) {
	entries, _ := os.ReadDir(dir) // a folder that cannot be read has no licences
	for _, e := range entries {
		if e.Type().IsRegular() && named.MatchString(e.Name()) && filepath.Ext(e.Name()) != ".go" {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files
}

// add adds the texts of files as licences of name.
func add(owners map[string][]string, name string, files ...string) error {
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		key := strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n"))
		owners[key] = append(owners[key], name)
	}
	return nil
}

// format writes each text below the names that it applies to.
func format(owners map[string][]string) []byte {
	texts := slices.Collect(maps.Keys(owners))
	for _, t := range texts {
		slices.Sort(owners[t])
		owners[t] = slices.Compact(owners[t])
	}
	slices.SortFunc(texts, func(a, b string) int {
		return strings.Compare(owners[a][0]+"\n"+a, owners[b][0]+"\n"+b)
	})
	var out bytes.Buffer
	for i, t := range texts {
		if i > 0 {
			out.WriteString("\n")
		}
		for _, name := range owners[t] {
			out.WriteString("==== " + name + "\n")
		}
		out.WriteString("\n" + t + "\n")
	}
	return out.Bytes()
}
