package message

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// Rejection is a domain's refusal of a command, made by [Reject].
type Rejection struct {
	// Code is the refusal's stable name, such as "AlreadyExists".
	Code string
	// Detail is a value that explains it; nil when there is none. It is shown to
	// the caller as JSON.
	Detail any
}

// Reject returns the refusal that Decide answers a command with. A detail, of
// which there may be one, is any value that encodes to JSON.
//
// A refusal is an outcome: it is reported to the caller and never retried.
func Reject(code string, detail ...any) error {
	if len(detail) > 1 {
		panic(fmt.Sprintf("message: Reject(%q) takes one detail at most", code))
	}
	r := &Rejection{Code: code}
	if len(detail) == 1 {
		r.Detail = detail[0]
	}
	return r
}

func (r *Rejection) Error() string {
	if r.Detail == nil {
		return r.Code
	}
	if raw, ok := r.Detail.(json.RawMessage); ok {
		return r.Code + ": " + string(raw)
	}
	return fmt.Sprintf("%s: %v", r.Code, r.Detail)
}

// Is reports whether target is a rejection of the same code, so that
// errors.Is(err, message.Reject("NotFound")) holds whatever the detail is.
func (r *Rejection) Is(target error) bool {
	t, ok := target.(*Rejection)
	return ok && t.Code == r.Code
}

// Refused returns the refusal that an outcome tells of, to be compared with
// errors.Is; nil when the command was not rejected.
func Refused(o Outcome) error {
	if o.Kind != driver.Rejected {
		return nil
	}
	r := &Rejection{Code: o.Code}
	if o.Detail != nil {
		r.Detail = o.Detail
	}
	return r
}

// Refusal is for the aggregate package: it turns the error that Decide returned
// into what the outcome says. A plain error has the code "Rejected".
func Refusal(err error) (*component.Refusal, error) {
	var r *Rejection
	if !errors.As(err, &r) {
		return &component.Refusal{Code: "Rejected", Message: err.Error()}, nil
	}
	out := &component.Refusal{Code: r.Code, Message: err.Error()}
	if r.Detail != nil {
		d, encErr := json.Marshal(r.Detail)
		if encErr != nil {
			return nil, fmt.Errorf("detail of rejection %s: %w", r.Code, encErr)
		}
		out.Detail = d
	}
	return out, nil
}
