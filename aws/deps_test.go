package aws_test

import (
	"testing"

	"github.com/reventless-go/reventless/internal/deptest"
)

const (
	core = "github.com/reventless-go/reventless"
	self = core + "/aws"
)

// testHelpers are packages that only tests may link.
var testHelpers = []string{
	self + "/internal/awstest",
	self + "/internal/failure/failuretest",
	self + "/internal/lambdarunner",
}

func TestImports(t *testing.T) {
	deptest.Check(
		t, ".",
		deptest.Rule{
			Why:    "a function must not carry a test framework and its flags",
			Pkgs:   []string{"./..."},
			Except: testHelpers,
			Never:  append([]string{"testing", core + "/driver/drivertest", core + "/internal/faults", core + "/driver/memory"}, testHelpers...),
		},
		deptest.Rule{
			Why:   "what a function links is what it starts with: it deploys nothing",
			Pkgs:  []string{"./..."},
			Never: []string{"github.com/pulumi"},
			Tests: true,
		},
		deptest.Rule{
			Why:   "functions and deployment share these, and a deployment must not link the SDK",
			Pkgs:  []string{"./internal/naming", "./internal/schema", "./internal/wiring"},
			Never: []string{"github.com/aws"},
		},
	)
}
