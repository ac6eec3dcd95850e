package message

import (
	"encoding/json"

	"github.com/reventless-go/reventless/internal/component"
)

// Typed is implemented by every command and event, on the value. MessageType
// returns the wire name: a capital letter followed by letters and digits, which
// never changes once a message is stored.
type Typed interface{ MessageType() string }

// Aliaser is implemented by a type that was renamed. MessageAliases returns its
// former wire names, which can still be decoded.
type Aliaser interface{ MessageAliases() []string }

// Versioned is implemented by a type whose JSON form has changed. Upcasts()[n]
// turns the JSON of version n into that of version n+1. The current version is one
// above the highest key, and every version from 1 on needs an upcast. A type that
// does not implement Versioned has version 1.
type Versioned interface{ Upcasts() map[int]Upcast }

// Upcast turns the JSON of one version of a type into that of the next version.
type Upcast = func(json.RawMessage) (json.RawMessage, error)

// Set is the closed set of types behind a sealed interface T.
type Set[T Typed] struct{ set[T] }

type set[T Typed] = component.Set[T]

// NewSet returns the set of the types of members, which are zero values of structs,
// not pointers. It panics when two members share a wire name or alias, when a name
// is invalid, and when an upcast is missing.
func NewSet[T Typed](members ...T) *Set[T] { return &Set[T]{*component.NewSet(members...)} }
