// Command lambdazip packs a program into a zip for Lambda, as an executable file named
// bootstrap. The same program always gives the same bytes, so that a deployment changes
// functions only if their program changed. Build the program reproducibly as well, with
// one Go version:
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
	if flags.NArg() != 1 {
		return fmt.Errorf("want one argument, the program; got %d", flags.NArg())
	}
	program, err := os.Open(flags.Arg(0))
	if err != nil {
		return err
	}
	defer func() { _ = program.Close() }() // opened for reading
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		return err
	}
	// Written to another file and renamed, so that an incomplete zip is never deployed.
	temporary, err := os.CreateTemp(filepath.Dir(*out), filepath.Base(*out)+".*")
	if err != nil {
		return err
	}
	err = errors.Join(write(temporary, program), temporary.Chmod(0o644), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), *out)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}

// modified is the time of the file in the zip: the earliest that a zip can have.
var modified = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// write writes the zip of a program. Nothing but the content of the program's file
// affects it.
func write(w io.Writer, program io.Reader) error {
	z := zip.NewWriter(w)
	h := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: modified}
	h.SetMode(0o755)
	f, err := z.CreateHeader(h)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, program); err != nil {
		return err
	}
	return z.Close()
}
