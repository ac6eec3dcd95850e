package dynamo

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Expression has the changes of one item and their conditions. It uses placeholders for
// all names, because attributes may be reserved words. The zero value is empty.
type Expression struct {
	names       map[string]string // by attribute
	values      Item
	set, remove []string
	conditions  []string
}

// Name returns the placeholder of an attribute.
func (e *Expression) Name(attribute string) string {
	if name, ok := e.names[attribute]; ok {
		return name
	}
	if e.names == nil {
		e.names = make(map[string]string)
	}
	name := fmt.Sprintf("#n%d", len(e.names))
	e.names[attribute] = name
	return name
}

// Value returns the placeholder of a value.
func (e *Expression) Value(v types.AttributeValue) string {
	if e.values == nil {
		e.values = make(Item)
	}
	name := fmt.Sprintf(":v%d", len(e.values))
	e.values[name] = v
	return name
}

// Set gives an attribute a value.
func (e *Expression) Set(attribute string, v types.AttributeValue) {
	e.SetTo(attribute, e.Value(v))
}

// SetTo gives an attribute the value of a formula of placeholders.
func (e *Expression) SetTo(attribute, formula string) {
	e.set = append(e.set, e.Name(attribute)+" = "+formula)
}

// Remove removes an attribute.
func (e *Expression) Remove(attribute string) { e.remove = append(e.remove, e.Name(attribute)) }

// Where adds a condition of placeholders. All conditions must hold.
func (e *Expression) Where(condition string) {
	e.conditions = append(e.conditions, "("+condition+")")
}

// Absent is the condition that the attribute, or the item, does not exist.
func (e *Expression) Absent(attribute string) string {
	return "attribute_not_exists(" + e.Name(attribute) + ")"
}

// Present is the condition that the item has the attribute.
func (e *Expression) Present(attribute string) string {
	return "attribute_exists(" + e.Name(attribute) + ")"
}

// Names returns the attributes by placeholder, as requests take them.
func (e *Expression) Names() map[string]string {
	if len(e.names) == 0 {
		return nil
	}
	names := make(map[string]string, len(e.names))
	for attribute, name := range e.names {
		names[name] = attribute
	}
	return names
}

// Projection returns the named attributes, for a request that reads only them.
func (e *Expression) Projection() *string {
	return joined(slices.Sorted(maps.Keys(e.Names())), ", ")
}

// Values returns the values by placeholder.
func (e *Expression) Values() Item { return e.values }

// Conditions returns the conditions; nil without conditions.
func (e *Expression) Conditions() *string { return joined(e.conditions, " AND ") }

// Update returns the update of an item.
func (e *Expression) Update(table string, key Item) types.TransactWriteItem {
	var parts []string
	if len(e.set) > 0 {
		parts = append(parts, "SET "+strings.Join(e.set, ", "))
	}
	if len(e.remove) > 0 {
		parts = append(parts, "REMOVE "+strings.Join(e.remove, ", "))
	}
	return types.TransactWriteItem{Update: &types.Update{
		TableName: &table, Key: key,
		UpdateExpression: joined(parts, " "), ConditionExpression: e.Conditions(),
		ExpressionAttributeNames: e.Names(), ExpressionAttributeValues: e.values,
	}}
}

// Delete returns the deletion of an item.
func (e *Expression) Delete(table string, key Item) types.TransactWriteItem {
	return types.TransactWriteItem{Delete: &types.Delete{
		TableName: &table, Key: key,
		ConditionExpression: e.Conditions(), ExpressionAttributeNames: e.Names(), ExpressionAttributeValues: e.values,
	}}
}

func joined(parts []string, between string) *string {
	if len(parts) == 0 {
		return nil
	}
	text := strings.Join(parts, between)
	return &text
}
