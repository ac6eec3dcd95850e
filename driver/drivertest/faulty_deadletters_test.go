package drivertest

import (
	"context"
	"strings"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

func deadLettersFaults() []fault {
	parking := func(change func(l *driver.DeadLetter)) plant {
		return on(func(h *faults.DeadLetters, _ *faulty) {
			h.OnPark = func(ctx context.Context, l driver.DeadLetter) error {
				change(&l)
				return h.DeadLetters.Park(ctx, l)
			}
		})
	}
	listing := func(list func(ctx context.Context, d driver.DeadLetters, component, after string, limit int) ([]driver.DeadLetter, error)) plant {
		return on(func(h *faults.DeadLetters, _ *faulty) {
			h.OnList = func(ctx context.Context, component, after string, limit int) ([]driver.DeadLetter, error) {
				return list(ctx, h.DeadLetters, component, after, limit)
			}
		})
	}
	return []fault{
		{"CompactsBodies", "DeadLetters/EverythingOfALetterIsKept", parking(func(l *driver.DeadLetter) { l.Body = compact(l.Body) })},
		{"KeepsTheFirst", "DeadLetters/ParkReplacesTheLetterOfItsID", on(func(h *faults.DeadLetters, _ *faulty) {
			h.OnPark = func(ctx context.Context, l driver.DeadLetter) error {
				if _, err := h.DeadLetters.Get(ctx, l.ID); err == nil {
					return nil
				}
				return h.DeadLetters.Park(ctx, l)
			}
		})},
		{"IgnoresTheComponent", "DeadLetters/LettersAreListedByIDAndComponent", listing(func(ctx context.Context, d driver.DeadLetters, _, after string, limit int) ([]driver.DeadLetter, error) {
			return d.List(ctx, "", after, limit)
		})},
		{"RemoveNeedsTheLetter", "DeadLetters/RemoveRemovesOneLetter", on(func(h *faults.DeadLetters, _ *faulty) {
			h.OnRemove = func(ctx context.Context, id string) error {
				if _, err := h.DeadLetters.Get(ctx, id); err != nil {
					return err
				}
				return h.DeadLetters.Remove(ctx, id)
			}
		})},
		{"ParksAnything", "DeadLetters/LettersWithoutIDOrComponentAreRefused", parking(func(l *driver.DeadLetter) {
			if l.Component == "" {
				l.Component = "Unknown"
			}
		})},
		{"IgnoresTheCase", "DeadLetters/LetterIDsAreKeptApart", parking(func(l *driver.DeadLetter) { l.ID = strings.ToLower(l.ID) })},
		{"CutsLargeBodies", "DeadLetters/LargeLettersAreKept", parking(func(l *driver.DeadLetter) { l.Body = l.Body[:min(len(l.Body), 256<<10)] })},
		{"LettersExpire", "DeadLetters/LettersDoNotExpire", on(func(h *faults.DeadLetters, w *faulty) {
			h.OnGet = func(ctx context.Context, id string) (driver.DeadLetter, error) {
				l, err := h.DeadLetters.Get(ctx, id)
				if err == nil && w.Now().Sub(l.ParkedAt) > 14*24*time.Hour {
					return driver.DeadLetter{}, driver.ErrNotFound
				}
				return l, err
			}
		})},
		{"KeepsWhatItIsGiven", "DeadLetters/ArgumentsAreNotKept", on(func(h *faults.DeadLetters, _ *faulty) {
			var body []byte
			h.OnPark = func(ctx context.Context, l driver.DeadLetter) error {
				body = l.Body
				return h.DeadLetters.Park(ctx, l)
			}
			h.OnGet = func(ctx context.Context, id string) (driver.DeadLetter, error) {
				l, err := h.DeadLetters.Get(ctx, id)
				l.Body = body
				return l, err
			}
		})},
		{"RemovedLettersComeBack", "DeadLetters/LettersSurviveReopening", on(func(h *faults.DeadLetters, w *faulty) {
			if w.session > 1 {
				_ = h.DeadLetters.Park(context.Background(), letterOf("b", "Test.B"))
			}
		})},
	}
}
