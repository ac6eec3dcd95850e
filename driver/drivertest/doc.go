// Package drivertest holds one conformance suite for each interface of package
// driver. Every provider passes all of them:
//
//	func TestProvider(t *testing.T) {
//		drivertest.TestProvider(t, func(t *testing.T) *drivertest.Fixture { ... })
//	}
//
// A provider that is built driver by driver runs single suites, such as
// [TestEventLog]. There is one subtest for each sentence of the contracts in package
// driver; it is named after the property that it tests. No option switches a
// property off, and sizes come from the provider's own limits. A property about time
// moves the fixture's clock and never sleeps. Where the clock cannot be moved, or
// where nothing survives a Close, the rest of such a property is skipped with a
// message.
//
// The suites read messages from [driver.Sources]. The fixture of a provider whose
// platform pushes messages to functions, as AWS does, implements Sources on top of
// the code that receives them in production, and sets [Fixture.Lag].
//
// The tests of this package prove that the suites can fail: for each property they
// plant a fault into a provider that the property must reject.
//
// [TestSameResults] compares two providers on random operations, and
// [BenchEventLog] measures one.
package drivertest
