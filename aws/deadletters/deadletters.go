// Package deadletters keeps dead letters in a DynamoDB table.
//
// The table has the partition key list (S) and the sort key key (B). All dead letters are
// in one partition, list = "letters", ascending by id, so that listing them is one
// consistent query without an index. The price is that the partition accepts 1,000 dead
// letters per second (more are [driver.ErrThrottled] and stay in their queue), and that a
// list of one component reads the dead letters of all components: about 500 bytes each,
// 2,000 in a request.
//
// The key is the id. The key of an id over 960 bytes is its first 960 bytes and the
// SHA-256 of the id: a sort key has at most 1,024 bytes, and an id that contains an entity
// id and a command id may be longer. The other attributes are id, component, kind, log,
// stream, reason and at (S, or B when they are not UTF-8), seq and attempts (N). A body of
// up to a KB is the attribute body (B). A larger body is stored in items of its own,
// because an item has at most 400 KB and a queued command up to 1 MiB; their partition is
// list = "body/" followed by the attribute bodyId, and size is their total size. They are
// written before the dead letter and deleted after it; a crash in between leaves items
// that are not visible and cost storage.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
//
// Park is one PutItem, of one write unit for each KB; a body over a KB is one more
// for each 380 KB. Get is one GetItem, and a query for each MB of a body; Remove
// one DeleteItem, and a batch for a body. The table has no TTL.
package deadletters

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/driver"
)

// The attributes that a deployment has to know.
const (
	// Partition is the partition key, a string.
	Partition = "list"
	// Sort is the sort key, binary.
	Sort = "key"
)

const (
	letters     = "letters" // the partition of all dead letters
	maxKey      = 960       // of an id in a sort key, with room for a hash
	inlineBytes = 1 << 10   // of a body in the item of its dead letter
	chunkBytes  = 380 << 10 // of a body in one item
	pageItems   = 1000
	maxReads    = 3 // of a dead letter that is replaced meanwhile
)

// MaxLetterBytes is the maximum size of a dead letter without its body.
const MaxLetterBytes = dynamo.MaxItemBytes - inlineBytes

// Letters are the dead letters of one application. They keep no state in memory: any
// number of processes may have them open.
type Letters struct {
	call  dynamo.Caller
	table string
}

var _ driver.DeadLetters = (*Letters)(nil)

// Options configure [Letters]; nil fields are the defaults.
type Options struct {
	// Spent is called with the name of each operation and what its request consumed.
	Spent func(operation string, c *types.ConsumedCapacity)
}

// Open returns the dead letters in table. It makes no request: a missing table is [driver.ErrUnavailable] at the first call.
func Open(client *dynamodb.Client, table string, opts *Options) *Letters {
	d := &Letters{call: dynamo.Caller{Client: client, Spent: func(string, *types.ConsumedCapacity) {}}, table: table}
	if opts != nil && opts.Spent != nil {
		d.call.Spent = opts.Spent
	}
	return d
}

// head is a dead letter whose body may be in other items.
type head struct {
	driver.DeadLetter
	bodyID string // empty when the item contains the body
	size   int
}

// Park implements [driver.DeadLetters]. A dead letter over [MaxLetterBytes]
// without its body is [driver.ErrTooLarge].
func (d *Letters) Park(ctx context.Context, letter driver.DeadLetter) error {
	if err := d.park(ctx, letter); err != nil {
		return fmt.Errorf("deadletters %s: park %.100q of %.100q: %w", d.table, letter.ID, letter.Component, err)
	}
	return nil
}

func (d *Letters) park(ctx context.Context, letter driver.DeadLetter) error {
	if letter.ID == "" || letter.Component == "" {
		return fmt.Errorf("the id or the component is empty: %w", driver.ErrInvalid)
	}
	h := head{DeadLetter: letter, size: len(letter.Body)}
	if h.size > inlineBytes {
		h.bodyID = rand.Text()
	}
	item := encode(h)
	if size := dynamo.Size(item); size > dynamo.MaxItemBytes {
		return &driver.TooLargeError{What: "dead letter without its body", Size: size, Limit: MaxLetterBytes}
	}
	if h.bodyID != "" {
		n := 0
		for chunk := range slices.Chunk(letter.Body, chunkBytes) {
			if _, err := d.put(ctx, dynamo.Item{
				Partition: dynamo.Text("body/" + h.bodyID), Sort: chunkKey(n),
				"data": &types.AttributeValueMemberB{Value: chunk}, "id": text(letter.ID[:min(len(letter.ID), maxKey)]),
			}); err != nil {
				return err
			}
			n++
		}
	}
	old, err := d.put(ctx, item)
	if err != nil {
		return err
	}
	d.removeBody(ctx, old, h.bodyID)
	return nil
}

// put writes an item and returns the item that it replaced.
func (d *Letters) put(ctx context.Context, item dynamo.Item) (dynamo.Item, error) {
	out, err := d.call.Client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &d.table, Item: item, ReturnValues: types.ReturnValueAllOld, ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
	})
	if err != nil {
		return nil, dynamo.Classify(err)
	}
	d.call.Spent("PutItem", out.ConsumedCapacity)
	return out.Attributes, nil
}

// removeBody deletes the items of the body of a dead letter that was removed or replaced.
// Items that cannot be deleted only cost storage. The body of the replacement itself is
// kept: the SDK retries a put whose answer was lost, which then replaces itself.
func (d *Letters) removeBody(ctx context.Context, old dynamo.Item, kept string) {
	h, err := decode(old)
	if err != nil || h.bodyID == "" || h.bodyID == kept {
		return
	}
	var keys []dynamo.Item
	for n := range (h.size + chunkBytes - 1) / chunkBytes {
		keys = append(keys, dynamo.Item{Partition: dynamo.Text("body/" + h.bodyID), Sort: chunkKey(n)})
	}
	d.call.BatchDelete(ctx, d.table, keys, func(int, error) {})
}

// Get implements [driver.DeadLetters].
func (d *Letters) Get(ctx context.Context, id string) (driver.DeadLetter, error) {
	letter, err := d.get(ctx, id)
	if err != nil {
		return driver.DeadLetter{}, fmt.Errorf("deadletters %s: get %.100q: %w", d.table, id, err)
	}
	return letter, nil
}

func (d *Letters) get(ctx context.Context, id string) (driver.DeadLetter, error) {
	if id == "" {
		return driver.DeadLetter{}, driver.ErrNotFound // no dead letter can have that id
	}
	for range maxReads {
		item, err := d.call.Get(ctx, d.table, dynamo.Item{Partition: dynamo.Text(letters), Sort: keyOf(id)}, nil)
		if err != nil {
			return driver.DeadLetter{}, err
		}
		if item == nil {
			return driver.DeadLetter{}, driver.ErrNotFound
		}
		h, err := decode(item)
		if err != nil {
			return driver.DeadLetter{}, err
		}
		whole, err := d.body(ctx, &h)
		if err != nil || whole {
			return h.DeadLetter, err
		}
	}
	return driver.DeadLetter{}, fmt.Errorf("the body is missing: %w", driver.ErrDamaged)
}

// body reads the body of h from other items. The body is incomplete when the dead letter
// was replaced or removed meanwhile.
func (d *Letters) body(ctx context.Context, h *head) (whole bool, err error) {
	if h.bodyID == "" {
		return true, nil
	}
	var e dynamo.Expression
	in := &dynamodb.QueryInput{
		TableName: &d.table, ConsistentRead: aws.Bool(true), ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
		KeyConditionExpression:   aws.String(e.Name(Partition) + " = " + e.Value(dynamo.Text("body/"+h.bodyID))),
		ExpressionAttributeNames: e.Names(), ExpressionAttributeValues: e.Values(),
	}
	var body []byte
	if err := d.query(ctx, in, func(item dynamo.Item) (bool, error) {
		data, ok := item["data"].(*types.AttributeValueMemberB)
		if !ok {
			return false, fmt.Errorf("a part of the body has no data: %w", driver.ErrDamaged)
		}
		body = append(body, data.Value...)
		return true, nil
	}); err != nil {
		return false, err
	}
	h.Body = body
	return len(body) == h.size, nil
}

// query calls f with the items of a query while f returns true.
func (d *Letters) query(ctx context.Context, in *dynamodb.QueryInput, f func(dynamo.Item) (more bool, err error)) error {
	for {
		out, err := d.call.Client.Query(ctx, in)
		if err != nil {
			return dynamo.Classify(err)
		}
		d.call.Spent("Query", out.ConsumedCapacity)
		for _, item := range out.Items {
			if more, err := f(item); err != nil || !more {
				return err
			}
		}
		if len(out.LastEvaluatedKey) == 0 {
			return nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// List implements [driver.DeadLetters].
func (d *Letters) List(ctx context.Context, component, after string, limit int) ([]driver.DeadLetter, error) {
	list, err := d.list(ctx, component, after, limit)
	if err != nil {
		return nil, fmt.Errorf("deadletters %s: list %d of %.100q after %.100q: %w", d.table, limit, component, after, err)
	}
	return list, nil
}

func (d *Letters) list(ctx context.Context, component, after string, limit int) ([]driver.DeadLetter, error) {
	if limit < 1 {
		return nil, driver.ErrInvalid
	}
	for {
		heads, err := d.heads(ctx, component, after, limit)
		if err != nil {
			return nil, err
		}
		var list []driver.DeadLetter
		for _, h := range heads {
			letter := h.DeadLetter
			whole, err := d.body(ctx, &h)
			if err == nil && whole {
				letter = h.DeadLetter
			} else if err == nil {
				letter, err = d.get(ctx, h.ID) // it was replaced or removed since
			}
			switch {
			case errors.Is(err, driver.ErrNotFound):
				continue
			case err != nil:
				return nil, fmt.Errorf("%.100q: %w", h.ID, err)
			case component == "" || letter.Component == component:
				list = append(list, letter)
			}
		}
		if len(list) > 0 || len(heads) == 0 {
			return list, nil
		}
		after = heads[len(heads)-1].ID // all of them were removed: an empty list would mean that no more follow
	}
}

// heads returns the first dead letters after an id, without bodies in other items.
func (d *Letters) heads(ctx context.Context, component, after string, limit int) ([]head, error) {
	var e dynamo.Expression
	condition := e.Name(Partition) + " = " + e.Value(dynamo.Text(letters))
	if after != "" {
		// The keys of long ids with the same start are not in the order of their ids.
		condition += " AND " + e.Name(Sort) + " >= " + e.Value(&types.AttributeValueMemberB{Value: start(after)})
	}
	in := &dynamodb.QueryInput{
		TableName: &d.table, ConsistentRead: aws.Bool(true), ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
		KeyConditionExpression: &condition,
	}
	if component != "" {
		in.FilterExpression = aws.String(e.Name("component") + " = " + e.Value(text(component)))
	} else {
		in.Limit = aws.Int32(int32(min(limit, pageItems-1)) + 1) //nolint:gosec // it is small
	}
	in.ExpressionAttributeNames, in.ExpressionAttributeValues = e.Names(), e.Values()
	var heads []head
	err := d.query(ctx, in, func(item dynamo.Item) (bool, error) {
		h, err := decode(item)
		if err != nil {
			return false, err
		}
		if h.ID <= after {
			return true, nil
		}
		if n := len(heads); n >= limit && !bytes.Equal(start(heads[n-1].ID), start(h.ID)) {
			return false, nil
		}
		heads = append(heads, h)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(heads, func(a, b head) int { return cmp.Compare(a.ID, b.ID) })
	return heads[:min(limit, len(heads))], nil
}

// Remove implements [driver.DeadLetters].
func (d *Letters) Remove(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	out, err := d.call.Client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName: &d.table, Key: dynamo.Item{Partition: dynamo.Text(letters), Sort: keyOf(id)},
		ReturnValues: types.ReturnValueAllOld, ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
	})
	if err != nil {
		return fmt.Errorf("deadletters %s: remove %.100q: %w", d.table, id, dynamo.Classify(err))
	}
	d.call.Spent("DeleteItem", out.ConsumedCapacity)
	d.removeBody(ctx, out.Attributes, "")
	return nil
}

// start is the part of an id that its key contains unchanged.
func start(id string) []byte { return []byte(id[:min(len(id), maxKey)]) }

// keyOf returns the sort key of an id. Ids with different starts and their keys have the
// same order.
func keyOf(id string) types.AttributeValue {
	key := start(id)
	if len(id) > maxKey {
		sum := sha256.Sum256([]byte(id))
		key = append(key, sum[:]...)
	}
	return &types.AttributeValueMemberB{Value: key}
}

func chunkKey(n int) types.AttributeValue {
	return &types.AttributeValueMemberB{Value: binary.BigEndian.AppendUint32(nil, uint32(n))} //nolint:gosec // a body has few
}

// text is an attribute that keeps s unchanged, even when s is not UTF-8.
func text(s string) types.AttributeValue {
	if utf8.ValidString(s) {
		return dynamo.Text(s)
	}
	return &types.AttributeValueMemberB{Value: []byte(s)}
}

// texts are the text attributes of a dead letter.
func texts(h *head) map[string]*string {
	return map[string]*string{
		"id": &h.ID, "component": &h.Component, "kind": (*string)(&h.Kind), "log": &h.Log, "stream": &h.Stream, "reason": &h.Reason, "bodyId": &h.bodyID,
	}
}

// encode returns the item of a dead letter. It omits empty fields.
func encode(h head) dynamo.Item {
	item := dynamo.Item{
		Partition: dynamo.Text(letters), Sort: keyOf(h.ID),
		"seq": dynamo.Number(h.SequenceNr), "attempts": dynamo.Number(max(h.Attempts, 0)), "size": dynamo.Number(h.size),
	}
	for name, s := range texts(&h) {
		if *s != "" {
			item[name] = text(*s)
		}
	}
	if !h.ParkedAt.IsZero() {
		item["at"] = dynamo.Text(h.ParkedAt.UTC().Format(time.RFC3339Nano))
	}
	if h.bodyID == "" && h.size > 0 {
		item["body"] = &types.AttributeValueMemberB{Value: h.Body}
	}
	return item
}

// decode returns the dead letter of an item, or an error of class [driver.ErrDamaged] if the
// item is malformed.
func decode(item dynamo.Item) (head, error) {
	if item == nil {
		return head{}, nil
	}
	r := dynamo.Read(item)
	var h head
	h.size, h.SequenceNr, h.Attempts = int(r.Uint("size")), r.Uint("seq"), int(r.Uint("attempts")) //nolint:gosec // they were written from ints
	for name, s := range texts(&h) {
		if v, ok := item[name].(*types.AttributeValueMemberB); ok {
			*s = string(v.Value)
		} else if r.Has(name) {
			*s = r.Text(name)
		}
	}
	if r.Has("at") {
		at, err := time.Parse(time.RFC3339Nano, r.Text("at"))
		if err != nil {
			r.Fail("its time: %w", err)
		}
		h.ParkedAt = at
	}
	if v, ok := item["body"].(*types.AttributeValueMemberB); ok {
		h.Body = v.Value
	}
	if err := r.Err(); err != nil {
		return head{}, fmt.Errorf("item %.100q is not a dead letter: %w", h.ID, err)
	}
	return h, nil
}
