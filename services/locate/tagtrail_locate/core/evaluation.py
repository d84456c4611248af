"""Computes the evaluations that became due: filter, zone decision, rows and facts."""

from __future__ import annotations

from collections.abc import Sequence

from tagtrail_locate.core import answers, coverage, sources, zones
from tagtrail_locate.core.effects import Effects
from tagtrail_locate.core.jobs import GATHERED_LOOKS, Course, Job, adverts_of, by_rounds
from tagtrail_locate.core.site_model import Answers, SiteModel, model_of
from tagtrail_locate.core.smoothed import smoothed
from tagtrail_locate.core.state import State, TagState
from tagtrail_locate.core.thresholds import FullFence, Thresholds


class Evaluator:
    """Computes jobs; holds the filters of the sites, which follow from the registry.

    Args:
        state: The memory.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._models: dict[str, tuple[int, SiteModel | None]] = {}
        self._fences: dict[tuple[str, str | None], FullFence] = {}
        self._fences_of: Thresholds | None = None
        self._lessons: dict[str, list[coverage.Lesson]] = {}

    def model(self, site_id: str) -> SiteModel | None:
        """Return the filter of a site as it is configured now; None if it can tell no zone."""
        version = self._state.registry.plans.get(site_id, 0)
        known = self._models.get(site_id)
        if known is None or known[0] != version:
            known = self._models[site_id] = (version, model_of(self._state.registry, site_id))
        return known[1]

    def _fence(self, site_id: str, zone_id: str | None) -> FullFence:
        thresholds = self._state.registry.thresholds
        if thresholds is not self._fences_of:
            self._fences, self._fences_of = {}, thresholds
        found = self._fences.get((site_id, zone_id))
        if found is None:
            found = self._fences[site_id, zone_id] = thresholds.fence_of(site_id, zone_id)
        return found

    def counts(self, site_id: str, gateway_id: str) -> bool:
        """Tell whether what a gateway hears says something about zones."""
        model = self.model(site_id)
        return model is not None and gateway_id in model.index

    def unhear(self, tag: TagState, gateway_id: str) -> None:
        """Take a gateway at its word that it no longer hears a tag."""
        track = tag.track
        model = self.model(track.site_id) if track is not None else None
        if track is not None and model is not None and track.form == model.form:
            track.head = model.unheard(track.head, gateway_id)

    def run(
        self, jobs: Sequence[Job], lessons: Sequence[coverage.Lesson], effects: Effects
    ) -> None:
        """Compute jobs, and write out what follows.

        Args:
            jobs: In the order in which they became due.
            lessons: What zones learn, in the order of the log.
            effects: Rows and facts are added.
        """
        self._lessons = {}
        for lesson in lessons:
            self._lessons.setdefault(lesson.tag.tag_id, []).append(lesson)
        for turn in by_rounds(jobs):
            by_site: dict[str, list[Job]] = {}
            for job in turn:
                by_site.setdefault(job.site_id, []).append(job)
            for site_id, own in by_site.items():
                model = self.model(site_id)
                if model is not None:
                    self._run(model, own, effects)
        for lesson in lessons:
            if lesson.zone is None:
                lesson.settle()
            coverage.teach(self._state, lesson)

    def _run(self, model: SiteModel, jobs: list[Job], effects: Effects) -> None:
        thresholds = self._state.registry.thresholds
        keep_s, grace_s = thresholds.keep_s, thresholds.silence_grace_s
        courses = [Course(job, model, thresholds) for job in jobs]
        told: dict[int, Answers | None] = {}
        going = [course for course in courses if course.looks]
        while going:
            looks = [course.looks.pop() for course in going]
            for course, look, (memory, unheard, said) in zip(
                going, looks, model.step(going, looks, grace_s), strict=True
            ):
                course.took(look.at_s, memory)
                if not course.looks:
                    course.track.unheard = unheard
                    told[course.job.order] = said
            going = [course for course in going if course.looks]
        for course in courses:
            if course.late:
                course.job.tag.late += course.late
                sources.count(self._state, "late", course.late)
            if course.new:
                course.finish(keep_s)
                self._decide(model, course, told[course.job.order], effects)

    def _decide(
        self, model: SiteModel, course: Course, told: Answers | None, effects: Effects
    ) -> None:
        """Let what the filter says decide; it says nothing new about a tag that rests for long."""
        job, track = course.job, course.track
        tag, hold = job.tag, job.tag.radio
        for lesson in self._lessons.get(tag.tag_id, ()):
            if lesson.zone is None and lesson.order < job.order:
                lesson.settle()
        if track.head_s > tag.now_s:
            tag.now_s = track.head_s
        hold.heard_s = tag.now_s
        if told is None:
            track.skipped += 1 if job.gathered_s is None else GATHERED_LOOKS
        else:
            lag_s = self._state.registry.thresholds.lag_s
            if lag_s > 0:
                told = smoothed(track, told, float(lag_s))
            track.skipped, track.zones = 0, told.data
            track.x_m, track.y_m, track.radius_95_m = told.x_m, told.y_m, told.radius_95_m
            tag.nearest_id = told.nearest_id or tag.nearest_id
            best_id = model.zone_ids[told.best] if told.best < len(model.zone_ids) else None
            if hold.zone_id is None or best_id != hold.zone_id:
                self._contest(model, course, told, best_id)
            elif hold.reason != "most_probable":
                zones.dismiss(hold, "most_probable")
            held = model.zone_index.get(hold.zone_id or "", len(model.zone_ids))
            hold.confidence = told.zones[held]
        answers.settle(self._state, effects, tag, job.cause)

    def _contest(
        self, model: SiteModel, course: Course, told: Answers, best_id: str | None
    ) -> None:
        registry, job, hold = self._state.registry, course.job, course.job.tag.radio
        thresholds = registry.thresholds
        fence = self._fence(job.site_id, hold.zone_id)
        now_s = job.tag.now_s
        settling = now_s - job.settle_s < thresholds.settle_s
        held = near = told.zones[-1] if hold.zone_id is None else 0.0
        held_at = model.zone_index.get(hold.zone_id or "")
        if held_at is not None and hold.zone_id is not None:
            held = told.zones[held_at]
            near = held
            if held < thresholds.exit_probability and not settling and told.belief is not None:
                near = model.near(told.belief, registry, hold.zone_id, fence.exit_tolerance_m)
        samples, span_s = adverts_of(job)
        rested_s = now_s - max(hold.since_s, told.moved_s)
        view = zones.View(best_id, told.zones[told.best], held, near, samples, span_s, rested_s)
        if course.revised and zones.revise(hold, view, now_s, thresholds):
            return
        zones.decide(hold, view, now_s, fence, thresholds, settling=settling)
