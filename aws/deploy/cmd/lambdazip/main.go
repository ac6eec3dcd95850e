// Command lambdazip puts a program into a zip as Lambda takes it: under the name
// bootstrap, executable. The same program gives the same bytes, whenever and
// wherever that is, so that a deployment changes functions only when their program
// changes. Build the program reproducibly, too, with one Go version:
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
		return fmt.Errorf("it takes the program as its one argument, and got %d", flags.NArg())
	}
	program, err := os.Open(flags.Arg(0))
	if err != nil {
		return err
	}
	defer func() { _ = program.Close() }() // it was read
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		return err
	}
	// By a rename, so that nobody deploys half of it.
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

// began is the time of all files: the first that a zip can have.
var began = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// write writes the zip of a program. Nothing of the file that it comes from is in it
// but its bytes.
func write(w io.Writer, program io.Reader) error {
	z := zip.NewWriter(w)
	h := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: began}
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
