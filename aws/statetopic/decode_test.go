package statetopic_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/aws/statetopic"
	"github.com/reventless-go/reventless/driver"
)

const written = 1_800_000_000 // when the writes of these tests were made

var (
	plain = driver.TableSpec{Name: "Test.Plain"}
	lines = driver.TableSpec{Name: "Test.Lines", SubID: "line"}
	own   = driver.TableSpec{Name: "Test.Own", OwnRow: true}
)

// change is a record of a Lambda event with two images, of which none may be empty.
func change(kind, before, after, rest string) string {
	var images strings.Builder
	if before != "" {
		fmt.Fprintf(&images, `"OldImage":{%s},`, before)
	}
	if after != "" {
		fmt.Fprintf(&images, `"NewImage":{%s},`, after)
	}
	return fmt.Sprintf(`{"eventName":%q,"dynamodb":{%s"ApproximateCreationDateTime":%d,"SequenceNumber":"12"}%s}`, kind, images.String(), written, rest)
}

func image(data string, rev, ttl int, rest string) string {
	s := fmt.Sprintf(`"id":{"S":"a"},"data":{"S":%q},"rev":{"N":"%d"}`, data, rev)
	if ttl != 0 {
		s += fmt.Sprintf(`,"ends":{"N":"%d"}`, ttl)
	}
	return s + rest
}

func TestChangesAreDerivedFromTheImages(t *testing.T) {
	t.Parallel()
	const ttl = `,"userIdentity":{"type":"Service","principalId":"dynamodb.amazonaws.com"}`
	// Lambda has the names in lower case or with capitals, as its service wishes.
	const capitals = `,"userIdentity":{"Type":"Service","PrincipalId":"dynamodb.amazonaws.com"}`
	const user = `,"userIdentity":{"type":"AssumedRole","principalId":"dynamodb.amazonaws.com"}`
	one, two := image(`{"n":1}`, 1, 0, ""), image(`{"n":2}`, 2, 0, "")
	hidden := `"id":{"S":"a"},"rev":{"N":"1"},"w:Test.Log":{"N":"5"}`
	for what, c := range map[string]struct {
		spec driver.TableSpec
		text string
		want driver.StateChange // without the names; the zero value expects no change
	}{
		"added":   {plain, change("INSERT", "", one, ""), driver.StateChange{Kind: driver.Added, Revision: 1, Row: []byte(`{"n":1}`)}},
		"updated": {plain, change("MODIFY", one, two, ""), driver.StateChange{Kind: driver.Updated, Revision: 2, Row: []byte(`{"n":2}`)}},
		"removed": {plain, change("REMOVE", two, "", ""), driver.StateChange{Kind: driver.Removed, Revision: 2, Row: []byte(`{"n":2}`)}},

		"removed by time":                 {plain, change("REMOVE", two, "", ttl), driver.StateChange{}},
		"removed by time, with capitals":  {plain, change("REMOVE", two, "", capitals), driver.StateChange{}},
		"removed by a user":               {plain, change("REMOVE", two, "", user), driver.StateChange{Kind: driver.Removed, Revision: 2, Row: []byte(`{"n":2}`)}},
		"removed after its end":           {plain, change("REMOVE", image(`{}`, 1, written, ""), "", ""), driver.StateChange{}},
		"removed before its end":          {plain, change("REMOVE", image(`{}`, 1, written+1, ""), "", ""), driver.StateChange{Kind: driver.Removed, Revision: 1, Row: []byte(`{}`)}},
		"put again after its end":         {plain, change("MODIFY", image(`{}`, 1, written-1, ""), two, ""), driver.StateChange{Kind: driver.Added, Revision: 2, Row: []byte(`{"n":2}`)}},
		"put again before its end":        {plain, change("MODIFY", image(`{}`, 1, written+9, ""), two, ""), driver.StateChange{Kind: driver.Updated, Revision: 2, Row: []byte(`{"n":2}`)}},
		"the same data, written again":    {plain, change("MODIFY", image(`{}`, 1, 0, ""), image(`{}`, 2, 0, ""), ""), driver.StateChange{Kind: driver.Updated, Revision: 2, Row: []byte(`{}`)}},
		"other index entries":             {plain, change("MODIFY", one, image(`{"n":1}`, 1, 0, `,"k:I":{"S":"x"}`), ""), driver.StateChange{}},
		"a watermark moves":               {own, change("MODIFY", image(`{}`, 1, 0, `,"w:Test.Log":{"N":"1"}`), image(`{}`, 1, 0, `,"w:Test.Log":{"N":"2"}`), ""), driver.StateChange{}},
		"a watermark without a row":       {own, change("INSERT", "", hidden, ""), driver.StateChange{}},
		"a row joins its watermark":       {own, change("MODIFY", hidden, two, ""), driver.StateChange{Kind: driver.Added, Revision: 2, Row: []byte(`{"n":2}`)}},
		"a row leaves its watermark":      {own, change("MODIFY", one, hidden, ""), driver.StateChange{Kind: driver.Removed, Revision: 1, Row: []byte(`{"n":1}`)}},
		"a watermark is removed":          {own, change("REMOVE", hidden, "", ""), driver.StateChange{}},
		"a watermark moves without a row": {own, change("MODIFY", hidden, hidden, ""), driver.StateChange{}},
		"a row with a sub id":             {lines, change("INSERT", "", one+`,"sub":{"S":"x"}`, ""), driver.StateChange{Kind: driver.Added, SubID: "x", Revision: 1, Row: []byte(`{"n":1}`)}},
	} {
		got, ok, err := statetopic.DecodeStream(streams.Parse([]byte(c.text)), c.spec)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if c.want.Kind != "" {
			c.want.ReadModel, c.want.ID = c.spec.Name, "a"
		}
		if ok != (c.want.Kind != "") || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: got %+v, %t, want %+v", what, got, ok, c.want)
		}
	}
}

func TestForeignChangesAreInvalid(t *testing.T) {
	t.Parallel()
	one := image(`{"n":1}`, 1, 0, "")
	for what, text := range map[string]string{
		"no JSON":               `{`,
		"nothing":               `{}`,
		"an unknown kind":       change("UPSERT", one, one, ""),
		"no new image":          change("INSERT", "", "", ""),
		"no old image":          change("REMOVE", "", "", ""),
		"keys only":             change("MODIFY", "", one, ""),
		"no revision":           change("INSERT", "", `"id":{"S":"a"},"data":{"S":"{}"}`, ""),
		"data that is no text":  change("INSERT", "", `"id":{"S":"a"},"data":{"N":"1"},"rev":{"N":"1"}`, ""),
		"a time that is a text": change("INSERT", "", one+`,"ends":{"S":"1"}`, ""),
	} {
		if got, ok, err := statetopic.DecodeStream(streams.Parse([]byte(text)), plain); ok || !malformed(err) {
			t.Errorf("%s: got %+v, %t, %v, want an error of class invalid or damaged", what, got, ok, err)
		}
	}
	if _, ok, err := statetopic.DecodeStream(streams.Parse([]byte(change("INSERT", "", one, ""))), lines); ok || !errors.Is(err, driver.ErrDamaged) {
		t.Errorf("no sub id: got %t, %v, want an error of class damaged", ok, err)
	}
}

func malformed(err error) bool {
	return errors.Is(err, driver.ErrInvalid) || errors.Is(err, driver.ErrDamaged)
}

func FuzzDecodeStream(f *testing.F) {
	f.Add([]byte(change("MODIFY", image(`{}`, 1, 5, ""), image(`{"n":2}`, 2, 0, ""), "")), false)
	f.Add([]byte(change("REMOVE", `"id":{"S":"a"},"sub":{"S":"b"},"data":{"S":"{}"},"rev":{"N":"1"}`, "", `,"userIdentity":{"type":"Service"}`)), true)
	f.Fuzz(func(t *testing.T, text []byte, sub bool) {
		spec := own
		if sub {
			spec = lines
		}
		c, ok, err := statetopic.DecodeStream(streams.Parse(text), spec)
		if ok && (err != nil || c.Kind == "" || c.ReadModel != spec.Name) || err != nil && !malformed(err) {
			t.Errorf("got %+v, %t, %v", c, ok, err)
		}
	})
}
