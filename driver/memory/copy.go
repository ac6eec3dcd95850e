package memory

import (
	"bytes"
	"maps"
	"slices"

	"github.com/reventless-go/reventless/driver"
)

// The provider copies every value that it receives or returns, so that neither it
// nor its caller sees later changes by the other.

func copyMeta(m driver.Meta) driver.Meta {
	m.Headers = maps.Clone(m.Headers)
	return m
}

func copyCommand(c driver.Command) driver.Command {
	c.Data = bytes.Clone(c.Data)
	c.Meta = copyMeta(c.Meta)
	return c
}

func copyCommit(c driver.Commit) driver.Commit {
	c.Events = slices.Clone(c.Events)
	for i := range c.Events {
		c.Events[i].Data = bytes.Clone(c.Events[i].Data)
	}
	c.Commands = slices.Clone(c.Commands)
	for i := range c.Commands {
		c.Commands[i].Meta = copyMeta(c.Commands[i].Meta)
	}
	if c.Snapshot != nil {
		s := copySnapshot(*c.Snapshot)
		c.Snapshot = &s
	}
	return c
}

func copySnapshot(s driver.Snapshot) driver.Snapshot {
	s.State = bytes.Clone(s.State)
	s.Remembered, s.Folded = slices.Clone(s.Remembered), slices.Clone(s.Folded)
	return s
}

func copyRecord(r driver.Record) driver.Record {
	if r.Commit != nil {
		c := copyCommit(*r.Commit)
		r.Commit = &c
	}
	r.Raw = bytes.Clone(r.Raw)
	return r
}

func copySpec(s driver.TableSpec) driver.TableSpec {
	s.Indexes = slices.Clone(s.Indexes)
	for i := range s.Indexes {
		index := &s.Indexes[i]
		index.Include = slices.Clone(index.Include)
		if index.Sort != nil {
			sort := *index.Sort
			index.Sort = &sort
		}
	}
	return s
}

func copySchedule(s driver.Schedule) driver.Schedule {
	s.Payload = bytes.Clone(s.Payload)
	return s
}

func copyDeadLetter(l driver.DeadLetter) driver.DeadLetter {
	l.Body = bytes.Clone(l.Body)
	return l
}

func copyOutcome(o driver.Outcome) driver.Outcome {
	o.Detail = bytes.Clone(o.Detail)
	return o
}

// same is the copy function of types without references.
func same[T any](v T) T { return v }
