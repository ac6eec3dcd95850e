package dynamo

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/driver"
)

// MaxItemBytes is the maximum size of an item, names included.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
const MaxItemBytes = 400 << 10

// Item is an item of a table.
type Item = map[string]types.AttributeValue

// Text makes a string attribute.
func Text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

// Number makes a number attribute of a whole number.
func Number[N ~int | ~int64 | ~uint64](n N) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: fmt.Sprint(n)}
}

// Bool makes a boolean attribute.
func Bool(b bool) types.AttributeValue { return &types.AttributeValueMemberBOOL{Value: b} }

// Size returns the size of an item by DynamoDB's rules.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
func Size(item Item) int {
	n := 0
	for name, v := range item {
		n += len(name) + valueSize(v)
	}
	return n
}

func valueSize(v types.AttributeValue) int {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return len(v.Value)
	case *types.AttributeValueMemberN:
		return numberSize(v.Value)
	case *types.AttributeValueMemberB:
		return len(v.Value)
	case *types.AttributeValueMemberL:
		n := 3
		for _, e := range v.Value {
			n += 1 + valueSize(e)
		}
		return n
	case *types.AttributeValueMemberM:
		n := 3
		for name, e := range v.Value {
			n += 1 + len(name) + valueSize(e)
		}
		return n
	}
	return 1
}

// numberSize is one byte for every two significant digits, and one or two more.
func numberSize(text string) int {
	digits := strings.TrimLeft(strings.TrimLeft(text, "-"), "0.")
	digits = strings.TrimRight(strings.ReplaceAll(digits, ".", ""), "0")
	n := (len(digits)+1)/2 + 1
	if strings.HasPrefix(text, "-") {
		n++
	}
	return n
}

// Reader reads the attributes of one item. Its error is a [driver.ErrDamaged] that names
// the first attribute that is missing or has another type.
type Reader struct {
	item Item
	err  error
}

// Read returns a reader of item.
func Read(item Item) *Reader { return &Reader{item: item} }

// Err returns the first error.
func (r *Reader) Err() error { return r.err }

// Fail sets the error unless there is one.
func (r *Reader) Fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format+": %w", append(args, driver.ErrDamaged)...)
	}
}

// Has reports whether there is an attribute.
func (r *Reader) Has(name string) bool {
	_, ok := r.item[name]
	return ok
}

// Text returns a string attribute.
func (r *Reader) Text(name string) string {
	v, ok := r.item[name].(*types.AttributeValueMemberS)
	if !ok {
		r.Fail("its attribute %q is no string", name)
		return ""
	}
	return v.Value
}

// Uint returns a number attribute that is whole and not negative.
func (r *Reader) Uint(name string) uint64 {
	v, ok := r.item[name].(*types.AttributeValueMemberN)
	if !ok {
		r.Fail("its attribute %q is no number", name)
		return 0
	}
	n, err := strconv.ParseUint(v.Value, 10, 64)
	if err != nil {
		r.Fail("its attribute %q is %.40q", name, v.Value)
	}
	return n
}

// Bool returns a boolean attribute.
func (r *Reader) Bool(name string) bool {
	v, ok := r.item[name].(*types.AttributeValueMemberBOOL)
	if !ok {
		r.Fail("its attribute %q is no boolean", name)
		return false
	}
	return v.Value
}
