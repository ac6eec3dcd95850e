package views

import (
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/examples/shop/catalog/category"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

// Category is a row of [Categories].
type Category struct {
	CategoryID string `json:"categoryId"`
	Name       string `json:"name"`
	Archived   bool   `json:"archived"`
}

// Categories has all categories, including archived ones.
var Categories = readmodel.New(readmodel.Spec[Category]{
	Name:        "Categories",
	Doc:         "The categories of the catalog.",
	Projections: readmodel.Projections[Category]{readmodel.On(category.Aggregate, projectCategory)},
	OwnRow:      true,
	Access:      access.Anyone,
})

func projectCategory(e message.Event[category.Event]) readmodel.Changes[Category] {
	switch d := e.Data.(type) {
	case category.Added:
		return readmodel.Put(e.EntityID, Category{CategoryID: e.EntityID, Name: d.Name})
	case category.Renamed:
		return readmodel.Update(e.EntityID, func(r *Category) { r.Name = d.Name })
	case category.Archived:
		return readmodel.Update(e.EntityID, func(r *Category) { r.Archived = true })
	}
	return nil
}
