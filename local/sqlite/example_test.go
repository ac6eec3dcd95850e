package sqlite_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/local/sqlite"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	provider, err := sqlite.Open(ctx, filepath.Join(dir, "app.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer provider.Close()
	categories, err := provider.OpenEventLog(ctx, "Catalog.Category")
	if err != nil {
		log.Fatal(err)
	}
	err = categories.Append(ctx, driver.Commit{
		Stream: "books", SequenceNr: 1,
		Events:   []driver.Event{{Type: "Created", Version: 1, Data: json.RawMessage(`{"name": "Books"}`)}},
		Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: "command-1"}, EventCount: 1}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for commit, err := range categories.Read(ctx, "books", 0, 0) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(commit.SequenceNr, commit.Events[0].Type, string(commit.Events[0].Data))
	}
	// Output: 1 Created {"name": "Books"}
}
