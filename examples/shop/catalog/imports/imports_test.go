package imports_test

import (
	"testing"

	"github.com/reventless-go/reventless/examples/shop/catalog/imports"
	"github.com/reventless-go/reventless/examples/shop/catalog/product"
	"github.com/reventless-go/reventless/reventlesstest"
)

func TestImport(t *testing.T) {
	t.Parallel()
	reventlesstest.Task(t, imports.Task).
		WhenCreated("spring/new.csv", "productId,name,description,price\n"+
			"p1,Lamp,A lamp,339\n"+
			"p2,Mug\n"+
			"p3,\"Clock,A clock,375\n"+
			"p4,Bell,A bell,-1\n"+
			"p5,\"Kit, small\",\"A \"\"kit\"\"\",250\n").
		Then(
			product.Aggregate.To("p1", product.Add{Name: "Lamp", Description: "A lamp", Price: 339}),
			product.Aggregate.To("p5", product.Add{Name: "Kit, small", Description: `A "kit"`, Price: 250}),
		).
		ThenFile(imports.Bucket, "spring/new.csv.result.txt", "rows imported: 2, refused: 3\n"+
			"line 3: found 2 columns, not 4\n"+
			"line 4: at byte 22: a quote is not closed, or not followed by a comma\n"+
			"line 5: price -1 is negative\n")
}

func TestFileOfAnotherKind(t *testing.T) {
	t.Parallel()
	reventlesstest.Task(t, imports.Task).
		WhenCreated("new.csv", "hello\n").ThenNothing().
		ThenFile(imports.Bucket, "new.csv.result.txt", "nothing imported\nline 1: the columns are productId, name, description and price; found hello\n").
		WhenCreated("notes.txt", "hello\n").ThenNothing().
		ThenNoFile(imports.Bucket, "notes.txt.result.txt")
}
