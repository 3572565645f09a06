//! The copier: goes through the source's logs and remembers how far it has come.

use std::sync::Arc;

use super::error::CopyError;
use super::progress::{Place, Progress};
use super::put::{Chain, put};
use super::record::{Houses, Record};
use super::verify::{self, Verified};
use crate::id::{PartitionId, Position, StreamId};
use crate::ports::{EventStore, LogPage, PageLimit, ViewStore};

/// Copies the events of one store into another. See the [module](super) for what it keeps, what
/// it does not, and what the host must do.
///
/// It tries nothing twice: wrap the stores in [`Retrying`](crate::decorate::Retrying) for that, or
/// call again; whatever an earlier call left behind is looked at and gone on from. One copier at a
/// time: a second one between the same stores does no harm, and one of the two ends with
/// [`CopyError::Overtaken`] or [`CopyError::Refused`].
///
/// # Cancel safety
/// Any of its futures may be dropped, and the process may die, at any point; calling again, or
/// [`begin`](Self::begin) in another process, goes on.
#[derive(Debug)]
pub struct Copier {
    source: Arc<dyn EventStore>,
    target: Arc<dyn EventStore>,
    record: Record,
    houses: Houses,
    finished: bool,
    places: Vec<Place>,
    page: PageLimit,
    chain: Chain,
}

impl Copier {
    /// Begins to copy into an empty target, or goes on with a copy that was begun. `views` is the
    /// view store beside the target; it keeps how far the copy has come.
    ///
    /// # Errors
    /// [`CopyError::NotEmpty`], [`CopyError::SameStore`], [`CopyError::SourceChanged`],
    /// [`CopyError::TargetChanged`], or what the stores say.
    pub async fn begin(
        source: Arc<dyn EventStore>,
        target: Arc<dyn EventStore>,
        views: Arc<dyn ViewStore>,
    ) -> Result<Self, CopyError> {
        let from = source.info().await.map_err(CopyError::Source)?;
        let to = target.info().await.map_err(CopyError::Target)?;
        if from.epoch == to.epoch {
            return Err(CopyError::SameStore);
        }
        let record = Record::new(views, from.partitions)?;
        let asked = Houses { source: from.epoch, target: to.epoch, partitions: from.partitions };
        let mut found = record.houses().await?;
        if found.is_none() {
            let stranger = first_stream(&*target, to.partitions).await?;
            if stranger.is_none() {
                record.begin(&asked).await?;
            }
            // Another copier may have begun since the first look, and copied already.
            found = record.houses().await?;
            if let (None, Some(stream)) = (found, stranger) {
                return Err(CopyError::NotEmpty { stream });
            }
        }
        let Some((houses, finished)) = found else {
            return Err(CopyError::Overtaken { partition: PartitionId(0) });
        };
        must_be(&houses, &asked)?;
        let places = record.places().await?;
        let page = PageLimit::events(PageLimit::MAX_EVENTS);
        let chain = Chain::Guarded;
        Ok(Self { source, target, record, houses, finished, places, page, chain })
    }

    /// Bounds what is read at once, by default a thousand events or four MiB.
    #[must_use]
    pub fn with_page(mut self, page: PageLimit) -> Self {
        self.page = page;
        self
    }

    /// Whether the copy was finished.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// How far it has come, as of the last call.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Place::sum(&self.places)
    }

    /// Looks how far the copy has come and how much the source holds beyond it; copies nothing.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub async fn look(&mut self) -> Result<Progress, CopyError> {
        self.reload().await?;
        for (partition, place) in (0..).map(PartitionId).zip(&mut self.places) {
            let one = PageLimit::events(1);
            let page = self.source.read_log(partition, place.done, one).await;
            place.head = page.map_err(CopyError::Source)?.head;
        }
        Ok(self.progress())
    }

    /// Copies everything that the source holds now; what comes meanwhile is for the next call.
    /// Tells `on_page` after each page. Afterwards [`Progress::behind`] says what came meanwhile, as
    /// far as it was seen.
    ///
    /// # Errors
    /// [`CopyError`]; [`CopyError::Finished`] if the copy was finished.
    pub async fn catch_up(
        &mut self,
        on_page: impl FnMut(&Progress) + Send,
    ) -> Result<Progress, CopyError> {
        if self.finished {
            return Err(CopyError::Finished);
        }
        self.copy(on_page).await
    }

    /// Copies what is left, makes sure that nothing was written meanwhile, and marks the copy as
    /// finished. To be called when the writers have been stopped. Finishing again copies what
    /// was written since.
    ///
    /// # Errors
    /// [`CopyError::StillWritten`] if something was; the copy goes on then.
    pub async fn finish(
        &mut self,
        on_page: impl FnMut(&Progress) + Send,
    ) -> Result<Progress, CopyError> {
        self.copy(on_page).await?;
        let progress = self.look().await?;
        if progress.behind() > 0 {
            return Err(CopyError::StillWritten { behind: progress.behind() });
        }
        if !self.finished {
            self.record.finish().await?;
            self.finished = true;
        }
        Ok(progress)
    }

    /// Compares everything that was copied: each event with its source, byte for byte; that the
    /// target holds nothing else; and the order of the logs. Copies first what the source holds now,
    /// unless the copy is finished, so that it is known what must be there. The source may be in
    /// use meanwhile; the target must not be.
    ///
    /// # Errors
    /// [`CopyError::Different`] with the first difference found.
    pub async fn verify(
        &mut self,
        on_page: impl FnMut(&Progress) + Send,
    ) -> Result<Verified, CopyError> {
        if self.finished {
            self.look().await?;
        } else {
            self.copy(|_| ()).await?;
        }
        verify::verify(&*self.source, &*self.target, &self.places, self.page, on_page).await
    }

    async fn copy(
        &mut self,
        mut on_page: impl FnMut(&Progress) + Send,
    ) -> Result<Progress, CopyError> {
        self.reload().await?;
        for partition in (0..self.houses.partitions).map(PartitionId) {
            self.copy_partition(partition, &mut on_page).await?;
        }
        Ok(self.progress())
    }

    async fn copy_partition(
        &mut self,
        partition: PartitionId,
        on_page: &mut (impl FnMut(&Progress) + Send),
    ) -> Result<(), CopyError> {
        let mut page = self.read(partition, self.place(partition).done).await?;
        let goal = page.head;
        loop {
            self.set_place(partition, |place| place.head = page.head);
            if page.events.is_empty() {
                return Ok(());
            }
            let ahead = async {
                let more = page.next < goal;
                if more { Some(self.read(partition, page.next).await) } else { None }
            };
            let mut chain = self.chain;
            let putting = put(&*self.target, &page.events, &mut chain);
            let (put, ahead) = futures::future::join(putting, ahead).await;
            self.chain = chain;
            put?;
            self.save(partition, &page).await?;
            on_page(&self.progress());
            match ahead {
                Some(next) => page = next?,
                None => return Ok(()),
            }
        }
    }

    async fn save(&mut self, partition: PartitionId, page: &LogPage) -> Result<(), CopyError> {
        let before = self.place(partition);
        let bytes: usize = page.events.iter().map(|event| event.event.size()).sum();
        let after = Place {
            done: page.next,
            head: page.head,
            events: before.events + page.events.len() as u64,
            bytes: before.bytes + bytes as u64,
        };
        self.record.save(partition, before.done, &after).await?;
        self.set_place(partition, |place| *place = after);
        Ok(())
    }

    async fn read(&self, partition: PartitionId, after: Position) -> Result<LogPage, CopyError> {
        self.source.read_log(partition, after, self.page).await.map_err(CopyError::Source)
    }

    /// What was true when this was made may not be any more: another may have gone on with the copy,
    /// and a store may have been restored.
    async fn reload(&mut self) -> Result<(), CopyError> {
        let source = self.source.info().await.map_err(CopyError::Source)?;
        let target = self.target.info().await.map_err(CopyError::Target)?;
        let found =
            Houses { source: source.epoch, target: target.epoch, partitions: source.partitions };
        must_be(&self.houses, &found)?;
        self.places = self.record.places().await?;
        Ok(())
    }

    fn place(&self, partition: PartitionId) -> Place {
        let index = usize::try_from(partition.0).ok();
        index.and_then(|index| self.places.get(index)).copied().unwrap_or_default()
    }

    fn set_place(&mut self, partition: PartitionId, change: impl FnOnce(&mut Place)) {
        let index = usize::try_from(partition.0).ok();
        if let Some(place) = index.and_then(|index| self.places.get_mut(index)) {
            change(place);
        }
    }
}

fn must_be(recorded: &Houses, found: &Houses) -> Result<(), CopyError> {
    if recorded.source != found.source || recorded.partitions != found.partitions {
        let (recorded, found) = (recorded.source, found.source);
        return Err(CopyError::SourceChanged { recorded, found });
    }
    if recorded.target != found.target {
        let (recorded, found) = (recorded.target, found.target);
        return Err(CopyError::TargetChanged { recorded, found });
    }
    Ok(())
}

/// A stream that the store holds, if it holds any.
async fn first_stream(
    store: &dyn EventStore,
    partitions: u32,
) -> Result<Option<StreamId>, CopyError> {
    for partition in (0..partitions).map(PartitionId) {
        let page = store.read_log(partition, Position::ZERO, PageLimit::events(1)).await;
        if let Some(event) = page.map_err(CopyError::Target)?.events.first() {
            return Ok(Some(event.stream.clone()));
        }
    }
    Ok(None)
}
