// Command lambdazip packs a program into a zip for Lambda, as an executable file named
// bootstrap. Further files are added under their own names. The same files always give
// the same bytes, so that a deployment changes a function only if its program changed.
// Build the program reproducibly as well, with one Go version:
//
//	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags lambda.norpc -ldflags "-s -w" -o bin/bootstrap ./cmd/lambda
//	go run github.com/reventless-go/reventless/aws/deploy/cmd/lambdazip -o bin/lambda.zip bin/bootstrap
package main

import (
	"archive/zip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "lambdazip:", err)
		}
		os.Exit(1)
	}
}

func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("lambdazip", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("o", "lambda.zip", "the `file` to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("the first argument, the program, is missing")
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		return err
	}
	// The zip is written to a temporary file and renamed, so that an incomplete zip is
	// never deployed.
	temporary, err := os.CreateTemp(filepath.Dir(*out), filepath.Base(*out)+".*")
	if err != nil {
		return err
	}
	err = errors.Join(write(temporary, flags.Args()), temporary.Chmod(0o644), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), *out)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}

// modified is the modification time of every file in the zip: the earliest time that
// the format can represent.
var modified = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// write writes a zip of files. The first file is the program. The result depends only on
// the contents of the files and on the names of all files but the first.
func write(w io.Writer, files []string) error {
	z := zip.NewWriter(w)
	for i, path := range files {
		h := &zip.FileHeader{Name: filepath.Base(path), Method: zip.Deflate, Modified: modified}
		h.SetMode(0o644)
		if i == 0 {
			h.Name = "bootstrap"
			h.SetMode(0o755)
		}
		if err := add(z, h, path); err != nil {
			return err
		}
	}
	return z.Close()
}

func add(z *zip.Writer, h *zip.FileHeader, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it is only read
	f, err := z.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, file)
	return err
}
