// Package e2e has the tests of a whole application on AWS, end to end: the shop's
// Lambda binary on emulators. It is a separate module because it needs both the
// example and the drivers, and neither may depend on the other's tests.
package e2e
