// Package driver defines the contracts between Reventless and its providers.
//
// A provider is a platform on which applications run: process memory, one SQLite
// file, AWS. It implements [Provider], which opens one driver per declared
// component. Applications do not use this package; they declare components, and a
// host runs them.
//
// The comment of a method is its contract, and package
// [github.com/reventless-go/reventless/driver/drivertest] tests each sentence of it.
// Providers may differ in limits (sizes, batch lengths), never in semantics. These
// rules apply to all drivers:
//
//   - Every method may be called concurrently.
//   - A method that returns nil has taken effect durably. A method that returns
//     [ErrConflict], [ErrExists], [ErrNotFound], [ErrInvalid], [ErrTooLarge] or
//     [ErrUnsupported] has had no effect. After any other error it may or may not
//     have taken effect, unless the error is a *[BatchError] or the method's comment
//     says otherwise.
//   - Stored data that is damaged is never returned, and never treated as absent: the
//     call fails with [ErrDamaged], unless its comment says otherwise. Data that is not
//     damaged stays usable.
//   - An error has at most one class of this package, found with errors.Is. An
//     unknown failure has no class and is never a conflict.
//   - A cancelled context ends the call with the context's error, found with
//     errors.Is.
//   - A driver does not keep or change arguments after the call returns; results
//     belong to the caller.
//   - Names are logical: "<Plugin>.<Component>". Each provider maps them to physical
//     names.
package driver
