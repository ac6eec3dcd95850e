package rowtable

import (
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// enter adds the index attributes of a row with these fields.
func (t Table) enter(item dynamo.Item, key driver.Key, fields map[string]json.RawMessage) error {
	for _, index := range t.Spec.Indexes {
		if err := enterOne(item, index, key, fields); err != nil {
			return fmt.Errorf("index %q: %w", index.Name, err)
		}
	}
	return nil
}

func enterOne(item dynamo.Item, index driver.Index, key driver.Key, fields map[string]json.RawMessage) error {
	entry, in, err := rows.IndexEntry(index, fields)
	if err != nil || !in {
		return err
	}
	k, s := text(entry.Key), SortOf(rows.Position{Sort: entry.Sort, Key: key})
	if len(k) > MaxKeyBytes {
		return &driver.TooLargeError{What: "key", Size: len(k), Limit: MaxKeyBytes}
	}
	if len(s) > MaxSortBytes {
		return &driver.TooLargeError{What: "sort value with the row's ids", Size: len(s), Limit: MaxSortBytes}
	}
	item[KeyAttribute(index.Name)], item[SortAttribute(index.Name)] = dynamo.Text(k), dynamo.Text(s)
	return nil
}

// same compares two optional texts.
func same(a, b types.AttributeValue) bool {
	x, _ := a.(*types.AttributeValueMemberS)
	y, _ := b.(*types.AttributeValueMemberS)
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return x != nil && y != nil && x.Value == y.Value
}

// Entry returns the sort value of an item in an index, and whether its row belongs there:
// it does not when it was written under another definition of the index.
func (t Table) Entry(item dynamo.Item, index driver.Index, key driver.Key, fields map[string]json.RawMessage) (sort any, ok bool) {
	entry, in, err := rows.IndexEntry(index, fields)
	if err != nil || !in {
		return nil, false
	}
	k, s := dynamo.Text(text(entry.Key)), dynamo.Text(SortOf(rows.Position{Sort: entry.Sort, Key: key}))
	return entry.Sort, same(item[KeyAttribute(index.Name)], k) && same(item[SortAttribute(index.Name)], s)
}
