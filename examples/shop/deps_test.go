package shop_test

import (
	"testing"

	"github.com/reventless-go/reventless/internal/deptest"
)

func TestImports(t *testing.T) {
	const (
		core = "github.com/reventless-go/reventless"
		self = core + "/examples/shop"
	)
	deptest.Check(
		t, ".",
		deptest.Rule{
			Why:     "a domain package imports the core only: the host is chosen in cmd, so that the same application runs on each of them",
			Pkgs:    []string{"./..."},
			Except:  []string{self + "/cmd"},
			Modules: []string{core, self},
		},
		deptest.Rule{
			Why:           "the example shows what an application can do, and one outside of this repository cannot import internal packages",
			Pkgs:          []string{"./..."},
			NeverDirectly: []string{core + "/internal"},
		},
		deptest.Rule{
			Why:   "a program that runs an application must not carry a test framework and its flags",
			Pkgs:  []string{"./...", core + "/local/..."},
			Never: []string{"testing", core + "/reventlesstest", core + "/driver/drivertest", core + "/internal/deptest", core + "/internal/faults"},
		},
		deptest.Rule{
			Why:   "an application that runs for good keeps its data; nothing of it may fall back on the memory provider",
			Pkgs:  []string{"./...", core + "/local/..."},
			Never: []string{core + "/driver/memory"},
		},
	)
}
