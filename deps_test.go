package reventless_test

import (
	"testing"

	"github.com/reventless-go/reventless/internal/deptest"
)

const module = "github.com/reventless-go/reventless"

// testHelpers are packages that only tests may link. Their names say so.
var testHelpers = []string{
	module + "/driver/drivertest",
	module + "/reventlesstest",
	module + "/internal/deptest",
	module + "/internal/doctest",
	module + "/internal/testenv",
}

func TestImports(t *testing.T) {
	deptest.Check(
		t, ".",
		deptest.Rule{
			Why:     "whoever imports the core gets the standard library and nothing else; providers, hosts and the libraries they need are modules of their own",
			Pkgs:    []string{"./..."},
			Modules: []string{module},
			Tests:   true,
		},
		deptest.Rule{
			Why:    "a program that runs an application must not carry a test framework and its flags",
			Pkgs:   []string{"./..."},
			Except: testHelpers,
			Never:  append([]string{"testing", module + "/internal/faults"}, testHelpers...),
		},
		deptest.Rule{
			Why:    "the core knows providers by package driver only; the memory provider is for tests, like any other it is handed in",
			Pkgs:   []string{"./..."},
			Except: []string{module + "/driver/memory", module + "/reventlesstest"},
			Never:  []string{module + "/driver/memory"},
		},
		deptest.Rule{
			Why:   "the engine takes whatever provider it is given; one that it knew would be the one it secretly relies on",
			Pkgs:  []string{"./internal/host/..."},
			Never: []string{module + "/driver/memory"},
		},
		deptest.Rule{
			Why:   "declarations are inert values: a domain package links no engine, so that a deploy program does not either",
			Pkgs:  []string{".", "./access", "./aggregate", "./automation", "./counter", "./extension", "./internal/api", "./message", "./plugin", "./readmodel", "./schedule", "./task", "./topology"},
			Never: []string{module + "/internal/host"},
		},
		deptest.Rule{
			Why:   "the contract with providers stands by itself: it has no framework to pull in",
			Pkgs:  []string{"./driver", "./topology"},
			Never: []string{module + "/internal", module + "/message"},
		},
	)
}
