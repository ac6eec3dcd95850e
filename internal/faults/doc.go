// Package faults makes a provider fail on purpose, for tests of the engine and
// of the hosts.
//
// A [Provider] wraps another one. [Provider.Inject] defines which calls fail, before
// or after they took effect; [Provider.Disturb] defines what the transports do with
// what they deliver: double, delay, reorder, drop, strip. Everything it does is
// allowed by the contracts of package driver, so that whatever goes wrong under
// it is a fault of the engine.
//
// The package does not import testing and is no part of a program.
package faults
