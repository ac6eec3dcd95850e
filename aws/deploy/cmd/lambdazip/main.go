// Command lambdazip puts a program into a zip as Lambda takes it: under the name
// bootstrap, executable. The same program gives the same bytes, whenever and
// wherever that is, so that a deployment changes functions only when their program
// changes. Further files are put beside it under their own names. Build the program
// reproducibly, too, with one Go version:
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
		return errors.New("it takes the program as its first argument, and got none")
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		return err
	}
	// By a rename, so that nobody deploys half of it.
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

// began is the time of all files: the first that a zip can have.
var began = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// write writes a zip of files, of which the first is the program. Nothing but their
// bytes and the names of the others is taken from them.
func write(w io.Writer, files []string) error {
	z := zip.NewWriter(w)
	for i, path := range files {
		h := &zip.FileHeader{Name: filepath.Base(path), Method: zip.Deflate, Modified: began}
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
	defer func() { _ = file.Close() }() // it was read
	f, err := z.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, file)
	return err
}
