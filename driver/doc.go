// Package driver holds the contracts between Reventless and its providers.
//
// A provider is one place an application can run on: process memory, one
// SQLite file, AWS. It implements [Provider], which opens one driver per
// declared component. Applications never use this package; they declare
// components and let a host run them.
//
// The comment of a method is its contract, and package
// [github.com/reventless-go/reventless/driver/drivertest] has a test for each
// sentence of it. Providers may differ in limits (sizes, batch lengths), never
// in semantics. What holds for all drivers:
//
//   - Every method may be called concurrently.
//   - A method that returned nil has taken effect durably; one that returned an
//     error that is neither a *[BatchError] nor says otherwise may or may not
//     have taken effect, unless its class is [ErrConflict], [ErrExists],
//     [ErrNotFound], [ErrInvalid], [ErrTooLarge] or [ErrUnsupported]: then it
//     has not.
//   - Errors carry one class of this package, found with errors.Is, or none.
//     An unknown failure has no class and is never a conflict.
//   - A cancelled context ends the call with the context's error, found with
//     errors.Is.
//   - Arguments are not kept or changed after the call returned; results belong
//     to the caller.
//   - Names are logical: "<Plugin>.<Component>". A provider maps them to its own.
package driver
