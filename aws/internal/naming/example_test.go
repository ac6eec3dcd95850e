package naming_test

import (
	"fmt"

	"github.com/reventless-go/reventless/aws/internal/naming"
)

func Example() {
	dev, err := naming.New("shop", "dev")
	if err != nil {
		panic(err)
	}
	show := func(name string, err error) {
		if err != nil {
			panic(err)
		}
		fmt.Println(name)
	}
	show(dev.Name(naming.Log, "Catalog.Product"))
	show(dev.Name(naming.Commands, "Catalog.Product"))
	show(dev.Name(naming.Outcomes, ""))
	show(dev.BucketName(naming.Bucket, "Catalog.Images", "123456789012"))
	show(dev.FunctionName("projections", "Catalog"))
	show(dev.FunctionName("projections", "Catalog.ProductsByCategoryAndSupplierAndPrice"))
	show(naming.ScheduleName("order-4711"), nil)

	// Output:
	// shop-dev-Catalog-Product-log
	// shop-dev-Catalog-Product-commands.fifo
	// shop-dev-outcomes
	// shop-dev-catalog-images-bucket-123456789012
	// shop-dev-Catalog-projections-pluginfn
	// shop-dev-Catalog-ProductsByCatego--vjuqnwhn45c4442okob7yzyjrm-fn
	// order-4711
}
