// Package e2e tests a whole application end to end: the shop's Lambda binary on AWS
// emulators. It is a separate module because its tests need both the example and the
// drivers, and neither of these modules may require what only these tests need.
package e2e
