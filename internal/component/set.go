package component

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/reventless-go/reventless/driver"
)

// Typed is message.Typed: a command or event, which names its own wire type.
type Typed interface{ MessageType() string }

type (
	aliaser   interface{ MessageAliases() []string }
	versioned interface{ Upcasts() map[int]upcast }
	upcast    = func(json.RawMessage) (json.RawMessage, error)
)

// The errors of decoding. An error that wraps one names the type and, for a stored
// event, the log, the stream and the sequence number.
var (
	// ErrUnknownType: the set has no type of this wire name.
	ErrUnknownType = errors.New("unknown type")
	// ErrFutureVersion: newer code has written the payload.
	ErrFutureVersion = errors.New("version is newer than this code")
	// ErrMalformed: the payload does not fit its type.
	ErrMalformed = errors.New("malformed payload")
)

// Set is a closed set of message types. message.Set embeds it.
type Set[T Typed] struct {
	types  []MessageType
	byName map[string]member
	goType map[reflect.Type]int // index in types
}

type member struct {
	index   int
	upcasts map[int]upcast
}

// NewSet returns the set of the types of members, which are zero values. It panics
// when members are not valid; see message.NewSet.
func NewSet[T Typed](members ...T) *Set[T] {
	s := &Set[T]{byName: map[string]member{}, goType: map[reflect.Type]int{}}
	fail := func(format string, args ...any) {
		panic(fmt.Sprintf("message.NewSet[%v]: ", reflect.TypeFor[T]()) + fmt.Sprintf(format, args...))
	}
	if len(members) == 0 {
		fail("a set has at least one type")
	}
	for i, m := range members {
		t := reflect.TypeOf(m)
		if t == nil || t.Kind() != reflect.Struct {
			fail("member %d is a %v; members are struct values", i+1, t)
		}
		mt := MessageType{Name: m.MessageType(), Version: 1, Go: t}
		entry := member{index: i}
		if v, ok := any(m).(versioned); ok {
			entry.upcasts = v.Upcasts()
			for from := 1; from <= len(entry.upcasts); from++ {
				if entry.upcasts[from] == nil {
					fail("%v has no upcast from version %d", t, from)
				}
			}
			mt.Version = len(entry.upcasts) + 1
		}
		if a, ok := any(m).(aliaser); ok {
			mt.Aliases = a.MessageAliases()
		}
		for _, name := range append([]string{mt.Name}, mt.Aliases...) {
			if err := ValidName(name); err != nil {
				fail("%v has the wire name %q: %v", t, name, err)
			}
			if old, dup := s.byName[name]; dup {
				fail("%q is the wire name of both %v and %v", name, s.types[old.index].Go, t)
			}
			s.byName[name] = entry
			if len(s.types) == i {
				s.types = append(s.types, mt)
			}
		}
		s.goType[t] = i
	}
	return s
}

// Erased returns the set itself, so that packages of this module can access the set
// inside a message.Set.
func (s *Set[T]) Erased() *Set[T] { return s }

// Types describes the members in the order of their declaration.
func (s *Set[T]) Types() []MessageType { return slices.Clone(s.types) }

// Has reports whether v's type is a member.
func (s *Set[T]) Has(v T) bool {
	_, ok := s.goType[reflect.TypeOf(v)]
	return ok
}

// Encode returns the wire form of v. The error is [ErrUnknownType] when v's type
// is not a member (it satisfies the interface but was not listed), or that of
// json.Marshal.
func (s *Set[T]) Encode(v T) (driver.Event, error) {
	i, ok := s.goType[reflect.TypeOf(v)]
	if !ok {
		return driver.Event{}, fmt.Errorf("%w: %T is not listed in the set of %v", ErrUnknownType, v, reflect.TypeFor[T]())
	}
	data, err := json.Marshal(v)
	if err != nil {
		return driver.Event{}, fmt.Errorf("encode %s: %w", s.types[i].Name, err)
	}
	return driver.Event{Type: s.types[i].Name, Version: s.types[i].Version, Data: data}, nil
}

// Readable reports whether Decode can read a type and version, "<type>/<version>".
func (s *Set[T]) Readable(name string) bool {
	name, text, _ := strings.Cut(name, "/")
	version, err := strconv.Atoi(text)
	m, ok := s.byName[name]
	return ok && err == nil && version <= s.types[m.index].Version
}

// Decode returns the value of a wire form, upcasting an older version. Unknown
// fields are ignored, absent ones are zero. The errors are [ErrUnknownType], [ErrFutureVersion] and [ErrMalformed].
func (s *Set[T]) Decode(e driver.Event) (T, error) {
	var zero T
	m, ok := s.byName[e.Type]
	if !ok {
		return zero, fmt.Errorf("decode %q: %w", e.Type, ErrUnknownType)
	}
	t := s.types[m.index]
	version, data := max(e.Version, 1), e.Data
	if version > t.Version {
		return zero, fmt.Errorf("decode %s version %d, the newest known is %d: %w", e.Type, version, t.Version, ErrFutureVersion)
	}
	for ; version < t.Version; version++ {
		up, err := m.upcasts[version](data)
		if err != nil {
			return zero, fmt.Errorf("upcast %s from version %d: %w: %w", e.Type, version, ErrMalformed, err)
		}
		data = up
	}
	p := reflect.New(t.Go)
	if err := json.Unmarshal(data, p.Interface()); err != nil {
		return zero, fmt.Errorf("decode %s: %w: %w", e.Type, ErrMalformed, err)
	}
	return p.Elem().Interface().(T), nil
}

// String lists the wire names.
func (s *Set[T]) String() string {
	names := make([]string, len(s.types))
	for i, t := range s.types {
		names[i] = t.Name
	}
	return strings.Join(names, ", ")
}
