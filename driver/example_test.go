package driver_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
)

// Two writers append at one sequence number: one wins, the other receives the winner.
func ExampleEventLog() {
	ctx := context.Background()
	events, err := memory.New(nil).OpenEventLog(ctx, "Shop.Order")
	if err != nil {
		log.Fatal(err)
	}
	for _, writer := range []string{"ann", "bob"} {
		err := events.Append(ctx, driver.Commit{
			Stream: "order-1", SequenceNr: 1,
			Events:   []driver.Event{{Type: "Placed", Version: 1, Data: []byte(`{"by":"` + writer + `"}`)}},
			Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: "place-" + writer}, EventCount: 1}},
		})
		var conflict *driver.ConflictError
		if errors.As(err, &conflict) {
			fmt.Printf("%s lost against %s\n", writer, conflict.Winner.Commands[0].Meta.ID)
		}
	}
	for c, err := range events.Read(ctx, "order-1", 0, 0) {
		fmt.Println(c.SequenceNr, string(c.Events[0].Data), err)
	}
	// Output:
	// bob lost against place-ann
	// 1 {"by":"ann"} <nil>
}
