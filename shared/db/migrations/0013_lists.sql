-- Pages of saved models are read in their order from an index, however many there are. Orders by what changes
-- with every download have none: it would make each download dearer, and is asked for seldom.
CREATE INDEX IF NOT EXISTS trained_models_newest
    ON public.trained_models (user_id, deleted, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS trained_models_changed
    ON public.trained_models (user_id, deleted, updated_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS trained_models_by_name
    ON public.trained_models (user_id, deleted, lower(model_name), id DESC);
CREATE INDEX IF NOT EXISTS trained_models_by_size
    ON public.trained_models (user_id, deleted, file_size DESC NULLS LAST, id DESC);
