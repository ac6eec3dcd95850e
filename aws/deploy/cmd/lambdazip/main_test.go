package main

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSameProgramSameBytes(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("a program, "), 100_000)
	zipOf := func(mode os.FileMode, at time.Time) []byte {
		dir := t.TempDir()
		program, out := filepath.Join(dir, "some", "name"), filepath.Join(dir, "new", "lambda.zip")
		if err := os.Mkdir(filepath.Dir(program), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program, content, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(program, at, at); err != nil {
			t.Fatal(err)
		}
		notices := filepath.Join(dir, "NOTICES")
		if err := os.WriteFile(notices, []byte("a licence"), mode); err != nil {
			t.Fatal(err)
		}
		if err := run([]string{"-o", out, program, notices}, io.Discard); err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadDir(filepath.Dir(out))
		if err != nil || len(left) != 1 {
			t.Errorf("the folder of the zip has %v, %v", left, err)
		}
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	a := zipOf(0o600, time.Date(2020, 2, 29, 1, 2, 3, 4, time.UTC))
	b := zipOf(0o755, time.Date(2031, 7, 1, 9, 0, 0, 0, time.FixedZone("", 3600)))
	if !bytes.Equal(a, b) {
		t.Error("the zips differ")
	}
	z, err := zip.NewReader(bytes.NewReader(a), int64(len(a)))
	if err != nil || len(z.File) != 2 {
		t.Fatalf("the zip has %v, %v", z, err)
	}
	if f := z.File[1]; f.Name != "NOTICES" || f.Mode() != 0o644 || !f.Modified.Equal(modified) {
		t.Errorf("the second file is %s %v %v", f.Name, f.Mode(), f.Modified)
	}
	f := z.File[0]
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, content) || f.Name != "bootstrap" || f.Mode() != 0o755 || !f.Modified.Equal(modified) {
		t.Errorf("it has %s %v %v, of %d bytes: %v", f.Name, f.Mode(), f.Modified, len(got), err)
	}
}

func TestBadArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"main.go", "nothing"}, {"-x"}, {filepath.Join(t.TempDir(), "nothing")}, {"-o", filepath.Join("main.go", "x.zip"), "main.go"}} {
		if err := run(args, io.Discard); err == nil {
			t.Errorf("%q is accepted", strings.Join(args, " "))
		}
	}
}
