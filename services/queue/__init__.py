"""Work and jobs through Celery and Redis: who collects, who trains, and what makes a second delivery harmless."""
