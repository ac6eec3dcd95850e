package deploy

import (
	"testing"

	"github.com/reventless-go/reventless/internal/deptest"
)

func TestImports(t *testing.T) {
	const (
		core = "github.com/reventless-go/reventless"
		self = core + "/aws/deploy"
	)
	deptest.Check(
		t, ".",
		deptest.Rule{
			Why:   "a deploy program says what is to be made and asks AWS for nothing: what it shares with the runtime are names, functions and tables as data",
			Pkgs:  []string{"./..."},
			Never: []string{"github.com/aws/aws-sdk-go-v2", "github.com/aws/smithy-go", "github.com/aws/aws-lambda-go"},
		},
		deptest.Rule{
			Why:   "a deploy program reads the declaration and runs nothing of it",
			Pkgs:  []string{"./..."},
			Never: []string{core + "/internal/host", core + "/driver/memory"},
		},
		deptest.Rule{
			Why:    "a deploy program must not carry a test framework and its flags, nor the engine that stands in for Pulumi's",
			Pkgs:   []string{"./..."},
			Except: []string{self + "/deploytest"},
			Never:  []string{self + "/deploytest", core + "/internal/deptest", core + "/reventlesstest"},
		},
		deptest.Rule{
			Why:   "the zip is built where nothing is deployed: Pulumi is not for that",
			Pkgs:  []string{"./cmd/..."},
			Never: []string{"github.com/pulumi/pulumi"},
		},
	)
}
