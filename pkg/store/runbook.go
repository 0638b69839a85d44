package store

import (
	"context"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"runbook/pkg/apperr"
)

// Privacy says who may read a runbook.
type Privacy string

// The privacies.
const (
	Private Privacy = "PRIVATE" // its owner
	Shared  Privacy = "SHARED"  // whoever has its link
	Public  Privacy = "PUBLIC"  // everybody
)

// Runbook is a document. Revision is 1 at first and grows by 1 with every
// update.
type Runbook struct {
	ID        int64
	OwnerID   int64
	Title     string
	Content   string // the Markdown, byte for byte
	Privacy   Privacy
	Revision  int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// RunbookFilter selects runbooks of one owner for a list, newest first.
type RunbookFilter struct {
	OwnerID  int64
	Query    string // part of the title, in whatever case; empty: all
	BeforeID int64  // only what comes after the runbook with this id; 0: from the newest on
	Limit    int    // 0: DefaultLimit
}

// RunbookUpdate holds what changes; nil leaves a field as it is.
type RunbookUpdate struct {
	Title   *string
	Content *string
	Privacy *Privacy
}

// CreateRunbook adds the runbook, Private if it doesn't say otherwise. Id,
// revision and times are filled in. Without its owner the error is NotFound.
func (s *Store) CreateRunbook(ctx context.Context, runbook *Runbook) error {
	return s.run(ctx, func(db *gorm.DB) error {
		return createRunbook(db, runbook, s.now())
	})
}

func createRunbook(db *gorm.DB, runbook *Runbook, now time.Time) error {
	runbook.Revision = 1
	runbook.CreatedAt, runbook.UpdatedAt = now, now
	if runbook.Privacy == "" {
		runbook.Privacy = Private
	}
	return db.Create(runbook).Error
}

// FindRunbook returns the owner's runbook. If there is none with the id, or it
// is somebody else's, the error is NotFound.
func (s *Store) FindRunbook(ctx context.Context, ownerID, id int64) (runbook *Runbook, err error) {
	err = s.run(ctx, func(db *gorm.DB) error {
		runbook, err = take[Runbook](db.Where("id = ? AND owner_id = ?", id, ownerID), "runbook")
		return err
	})
	return runbook, err
}

// ListRunbooks returns a page of runbooks without their Content, newest first.
// The next page is the one before the last id of this one.
func (s *Store) ListRunbooks(ctx context.Context, filter RunbookFilter) (page []Runbook, err error) {
	err = s.run(ctx, func(db *gorm.DB) error {
		db = db.Omit("content").Where("owner_id = ?", filter.OwnerID)
		if filter.Query != "" {
			db = db.Where("title ILIKE ?", "%"+escapeLike(filter.Query)+"%")
		}
		return newestFirst(db, filter.BeforeID, filter.Limit).Find(&page).Error
	})
	return page, err
}

// UpdateRunbook changes the owner's runbook if its revision is still
// ifRevision, and returns it as it is now. Otherwise nothing changes, and the
// error is StaleRevision; or NotFound if there is no such runbook.
func (s *Store) UpdateRunbook(ctx context.Context, ownerID, id, ifRevision int64, update RunbookUpdate) (*Runbook, error) {
	changes := update.changes()
	changes["revision"] = gorm.Expr("revision + 1")
	changes["updated_at"] = s.now()

	var runbook Runbook
	err := s.run(ctx, func(db *gorm.DB) error {
		done := db.Model(&runbook).Clauses(clause.Returning{}).
			Where("id = ? AND owner_id = ? AND revision = ?", id, ownerID, ifRevision).
			Updates(changes)
		if done.Error != nil || done.RowsAffected == 1 {
			return done.Error
		}
		return whyNotUpdated(db, ownerID, id, ifRevision)
	})
	if err != nil {
		return nil, err
	}
	return &runbook, nil
}

func (u RunbookUpdate) changes() map[string]any {
	changes := map[string]any{}
	if u.Title != nil {
		changes["title"] = *u.Title
	}
	if u.Content != nil {
		changes["content"] = *u.Content
	}
	if u.Privacy != nil {
		changes["privacy"] = *u.Privacy
	}
	return changes
}

func whyNotUpdated(db *gorm.DB, ownerID, id, ifRevision int64) error {
	current, err := take[Runbook](db.Omit("content").Where("id = ? AND owner_id = ?", id, ownerID), "runbook")
	if err != nil {
		return err
	}
	return apperr.New(apperr.StaleRevision,
		"This runbook was changed since you loaded it: it is at revision %d, your change is based on revision %d. Load it again and merge.", current.Revision, ifRevision)
}

// DeleteRunbook removes the owner's runbook with its sessions and executions,
// or returns a NotFound error. The containers of sessions that are still active
// are the caller's to end, beforehand.
func (s *Store) DeleteRunbook(ctx context.Context, ownerID, id int64) error {
	return s.run(ctx, func(db *gorm.DB) error {
		done := db.Where("id = ? AND owner_id = ?", id, ownerID).Delete(&Runbook{})
		if done.Error == nil && done.RowsAffected == 0 {
			return missing("runbook")
		}
		return done.Error
	})
}

// newestFirst turns pages by id. Ids grow with time and never change, so that a
// row that is added or changed meanwhile neither hides another nor shows it twice.
func newestFirst(db *gorm.DB, beforeID int64, limit int) *gorm.DB {
	if beforeID > 0 {
		db = db.Where("id < ?", beforeID)
	}
	return db.Order("id DESC").Limit(limitOf(limit))
}

var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// escapeLike makes s stand for itself in a LIKE pattern.
func escapeLike(s string) string { return likeEscaper.Replace(s) }
