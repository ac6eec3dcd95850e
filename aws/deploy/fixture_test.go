package deploy

import (
	"archive/zip"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aws/deploy/deploytest"
	"github.com/reventless-go/reventless/topology"
)

var update = flag.Bool("update", false, "update the golden files")

// shop is the topology of the example. The tests of the example compare it with the
// declaration.
func shop(t *testing.T) topology.App {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "shop", "testdata", "topology.json"))
	if err != nil {
		t.Fatal(err)
	}
	var app topology.App
	if err := json.Unmarshal(text, &app); err != nil {
		t.Fatal(err)
	}
	return app
}

// code is a zip whose bootstrap has only the header of an arm64 executable. All tests
// use the same path, because it is part of the graph.
var code = filepath.Join("testdata", "lambda.zip")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}

// program returns the header of an executable for a machine, by its number in ELF.
func program(machine byte) string {
	return "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00" + string([]byte{machine}) + "\x00" + strings.Repeat("\x00", 44)
}

const (
	aarch64 = 183
	x86     = 62
)

// zipped writes a zip and returns its path.
func zipped(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lambda.zip")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z := zip.NewWriter(f)
	h := &zip.FileHeader{Name: name}
	h.SetMode(mode)
	w, err := z.CreateHeader(h)
	if err == nil {
		_, err = w.Write([]byte(content))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// graph runs NewApp for a topology and returns what it registered.
func graph(t *testing.T, app topology.App, args *AppArgs, opts *deploytest.Options) *deploytest.Resources {
	t.Helper()
	r, err := run(app, args, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func run(app topology.App, args *AppArgs, opts *deploytest.Options) (*deploytest.Resources, error) {
	given := AppArgs{}
	if args != nil {
		given = *args
	}
	if given.Code == "" {
		given.Code = code
	}
	return deploytest.Graph(func(ctx *pulumi.Context) error {
		_, err := newApp(ctx, app, &given)
		return err
	}, opts)
}

// graphOf is graph for a declaration.
func graphOf(t *testing.T, app *reventless.App, args *AppArgs) *deploytest.Resources {
	t.Helper()
	return graph(t, app.Topology(), args, nil)
}

// byType returns the resources of a type.
func byType(r *deploytest.Resources, token string) []deploytest.Resource {
	var out []deploytest.Resource
	for _, x := range r.All {
		if x.Type == token {
			out = append(out, x)
		}
	}
	return out
}

// find returns a resource.
func find(t *testing.T, r *deploytest.Resources, token, name string) deploytest.Resource {
	t.Helper()
	for _, x := range r.All {
		if x.Type == token && x.Name == name {
			return x
		}
	}
	t.Fatalf("no %s %s", token, name)
	return deploytest.Resource{}
}
