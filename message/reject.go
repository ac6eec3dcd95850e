package message

import (
	"encoding/json"
	"fmt"
)

// Rejection is the error by which Decide rejects a command. [Reject] makes it.
type Rejection struct {
	// Code is the rejection's stable name, such as "AlreadyExists".
	Code string
	// Detail explains the rejection; nil is no detail. Callers get it as JSON.
	Detail any
}

// Reject returns the error by which Decide rejects a command: a *[Rejection]. detail
// is at most one value that can be encoded as JSON.
//
// A rejection is an outcome, not a failure: it is reported to the caller and never
// retried.
func Reject(code string, detail ...any) error {
	if len(detail) > 1 {
		panic(fmt.Sprintf("message: Reject(%q) takes at most one detail", code))
	}
	r := &Rejection{Code: code}
	if len(detail) == 1 {
		r.Detail = detail[0]
	}
	return r
}

// Error returns the code and the detail.
func (r *Rejection) Error() string {
	if r.Detail == nil {
		return r.Code
	}
	if raw, ok := r.Detail.(json.RawMessage); ok {
		return r.Code + ": " + string(raw)
	}
	return fmt.Sprintf("%s: %v", r.Code, r.Detail)
}

// Is reports whether target is a rejection with the same code, whatever the
// details are: errors.Is(err, message.Reject("NotFound")).
func (r *Rejection) Is(target error) bool {
	t, ok := target.(*Rejection)
	return ok && t.Code == r.Code
}
