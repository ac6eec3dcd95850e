// Package drivertest holds one conformance suite per interface of package
// driver. Each provider passes all of them:
//
//	func TestProvider(t *testing.T) {
//		drivertest.TestProvider(t, func(t *testing.T) *drivertest.Fixture { ... })
//	}
//
// A subtest is named after the property it holds a provider to, and there is one
// for each sentence of the contracts in package driver. No flag switches a
// property off; sizes come from the provider's own limits. A property that needs
// time to pass moves the fixture's clock and never sleeps; it is skipped, and
// says so, where nobody can move the clock.
//
// The suites are tested themselves: for each property this package's own tests
// have at least one provider with one fault, which that property must find.
//
// [TestSameResults] compares two providers on random operations, and
// [BenchEventLog] measures one.
package drivertest
